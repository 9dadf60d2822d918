"""``python -m data_modules.miniature`` draws a miniature world."""

from data_modules.miniature.world import main

if __name__ == "__main__":
    main()
