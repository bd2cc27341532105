"""A process of its own that lets `hf_xet` hash the chunks of a xorb: `python -m …xet_worker`.

Its own, because `hf_xet` caches what it knows about a CAS under HF_HOME, fixed at import, and this
must neither read nor leave such caches at the user's.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Read `{"plain", "sizes", "cas_url", "token"}` on stdin; write one Xet file hash per chunk.

    Each chunk is uploaded as a file: chunk borders depend on a file's bytes from its start on, so a
    chunk alone is one chunk again, whichever files it came from.
    """
    order = json.load(sys.stdin)
    # Loaded by name: hf_xet ships no types.
    hf_xet: Any = importlib.import_module("hf_xet")
    with Path(order["plain"]).open("rb") as source:
        commit = hf_xet.XetSession().new_upload_commit(
            endpoint=order["cas_url"], token=order["token"], token_expiry_unix_secs=1 << 40
        )
        with commit:
            handles = [commit.start_upload_bytes(source.read(size)) for size in order["sizes"]]
    json.dump([handle.result().xet_info.hash for handle in handles], sys.stdout)


if __name__ == "__main__":
    main()
