"""Stock pynetdicom as a storage SCP, as its documentation shows it: the handler writes the file.

python bench/stock.py PORT FOLDER
"""

import sys
from pathlib import Path

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification

_config.LOG_HANDLER_LEVEL = "none"


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2]) / "files"
    folder.mkdir()
    ae = AE("STOCK")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(Verification)
    ae.maximum_associations = 250  # of its defaults only this is changed: 10 would refuse what is measured

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main()
