"""`python -m sandbox_service`: the command line."""

from sandbox_service.app.cli import main

if __name__ == "__main__":
    main()
