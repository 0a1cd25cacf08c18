"""Pictures of frames for the pages, made by programs of their own: no pixel of a sender is decoded in the web process.

`pool` gives work to a few of them, `decoder` is the program, `picture` and `window` what it does, `cache` keeps what
came out. numpy and the codecs are imported by `decoder` alone.
"""
