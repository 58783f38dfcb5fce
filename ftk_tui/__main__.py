"""`python -m ftk_tui` is `ftk`; `accelerate launch -m ftk_tui` starts it on several processes."""

from .cli import entry

if __name__ == "__main__":
    entry()
