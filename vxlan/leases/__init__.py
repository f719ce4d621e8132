"""Subnet leases of an overlay: which node has which subnet, kept in a file, in etcd or in Kubernetes.

    manager   keeps this node's lease and knows the peers; the agent has one for each overlay
      └─ store     what a store must do          static · etcd · kubernetes
           └─ schema, network    Flannel's own formats, both ways: keys, values, annotations, network configuration
    subnet_env    the file that tells the flannel CNI plugin what this node's lease is

Runs in the long-lived agent only: in threads, and with libraries that a plugin's process could not afford.
"""
