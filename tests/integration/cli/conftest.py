"""The command line in this process, on a home of its own, without a supervisor."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from noctis.cli import run
from noctis.home import UMASK
