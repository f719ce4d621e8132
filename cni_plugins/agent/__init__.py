"""The agent: what the plugins do, kept warm in one process for a node.

Nobody has to run it. A plugin's executable asks it first (cni_plugins.handover) and goes on by itself where there is none. What comes
out is the same, since the same `handle` serves the call. Nothing that another process may change is remembered here: what is
kept is imported code and open sockets.

    command.py    `cni-agent`, its options, its life       listener.py   the socket, our own or systemd's
    workers.py    threads that take connections            peers.py      who may speak
    session.py    one connection, the agent's half         warm.py       kernel handles that stay open
    deletions.py  interfaces that go together              rules.py      what a firewall's reload takes, put back
    metrics.py    numbers                                  web.py        /metrics and /status on the same socket

and the overlays that it keeps:

    conf.py       agent.toml                               stores.py     from a table there to a store of leases
    overlays.py   all of them                              overlay.py    one, kept true; desired.py says what that is
    passes.py     a look at a node's part, and its repair  events.py     what the kernel announces
    following.py  networks whose peers stand in a file
"""
