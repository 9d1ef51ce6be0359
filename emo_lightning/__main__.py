"""``python -m emo_lightning`` is ``emo``."""

import sys

from emo_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
