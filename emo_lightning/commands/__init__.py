"""The subcommands of ``emo``, one a file.

A command's file defines ``SUMMARY`` (its line in ``emo --help``), ``add_arguments(parser)`` and
``run(args)``. It imports what does the work inside ``run``, so that help and errors come at once.
"""
