"""Evaluate, in a checkout: `python eval.py model=mini` does what `lvcd eval model=mini` does."""

import sys

from lvcd.cli.eval import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], script="eval.py"))
