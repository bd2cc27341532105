"""`python -m llmcourse`."""

from llmcourse.cli import main

if __name__ == "__main__":
    main()
