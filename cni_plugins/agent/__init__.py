"""The agent: what the plugins do, kept warm in one process for a node.

Nobody has to run it. A plugin's executable asks it first (cni_plugins.handover) and goes on by itself where there is none. What comes
out is the same, since the same `handle` serves the call. Nothing that another process may change is remembered here: what is
kept is imported code, open sockets, and what Kubernetes tells by itself when it changes.

    command.py    `cni-agent`, its options, its life       listener.py   the socket, our own or systemd's
    workers.py    threads that take connections            peers.py      who may speak
    session.py    one connection, the agent's half         warm.py       kernel handles that stay open
    deletions.py  interfaces that go together              rules.py      the watch over what a firewall's reload takes;
    restoring.py  all of it put back, for all pods         announcements.py  says who took something
    metrics.py    numbers                                  web.py        /metrics on the same socket

and for pods with several networks:

    memory.py     what calls need not ask Kubernetes for   connections.py  to its API, that stay open
    watching.py   a collection of the API, watched         stream.py     an answer that goes on and on
    hot_change.py networks of pods that run

and the overlays that it keeps:

    conf.py       agent.toml                               stores.py     from a table there to a store of leases
    overlays.py   all of them                              overlay.py    one, kept true; desired.py says what that is
    passes.py     a look at a node's part, and its repair  events.py     what the kernel announces
    following.py  networks whose peers stand in a file
"""
