"""Pictures of frames for the pages, made by programs of their own: no pixel of a sender is decoded in the web process.

`pool` gives work to a few of them, `turns` says who is next, `decoding` runs `decoder`, the program; `picture` and
`window` are what it does, `cache` keeps what came out. numpy and the codecs are imported by `decoder` alone.
"""
