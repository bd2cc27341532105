"""`python -m llmcourse.testing.smol`: build the models; what libraries say is on stderr, progress on stdout.

Each line of stdout is a share of the whole in thousandths and what is being done.
"""

import sys

from llmcourse.testing.smol.family import build_smol


def main() -> None:
    def report(what: str, share: float) -> None:
        sys.stdout.write(f"{int(share * 1000)} {what}\n")
        sys.stdout.flush()

    build_smol(report)


if __name__ == "__main__":
    main()
