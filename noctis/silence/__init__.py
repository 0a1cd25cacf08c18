"""Which facility or device has gone silent: the learned habit, and how unlikely the present silence is by it.

`evaluate` looks at everything once; `Watch` keeps what was learned, for who looks again and again.
"""

from noctis.silence.state import Mute, State
from noctis.silence.watch import Watch, evaluate

__all__ = ["Mute", "State", "Watch", "evaluate"]
