"""`python -m noctis` is the command `noctis`."""

from noctis.cli import main

if __name__ == "__main__":
    main()
