"""``python -m emo_lightning.train EXPERIMENT.yaml key=value ...`` is ``emo train``."""

import sys

from emo_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
