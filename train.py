"""Train, in a checkout: `python train.py experiment=mini_cpu` does what `lvcd train experiment=mini_cpu` does."""

import sys

from lvcd.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], script="train.py"))
