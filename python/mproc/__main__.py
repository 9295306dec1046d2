"""`python -m mproc`; see `_alias.runner`."""

__all__: list[str] = []

if __name__ == "__main__":
    import sys

    from mproc._alias.runner import main

    main(sys.argv[1:])
