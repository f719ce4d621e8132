"""multus-lite: several networks for a container, each made by another plugin, chosen by the configuration or by a pod's annotation.

    conf.py         the configuration's keys                 plan.py         what an attachment needs
    choice.py       which networks a container gets          delegates.py    one plugin of a network: ADD, DEL, CHECK, STATUS
    chooser.py      how they are chosen                      gateways.py     which network has the default route
    annotation.py   what a pod asks for                      status.py       network-status and events on the pod
    definitions.py  where a network's configuration is       state.py        what the plugins got, kept until DEL
    networks.py     what a network's plugins get             sweep.py        GC of all networks
    devices.py      devices that the kubelet allotted        pods.py         the pod that a container belongs to
    api.py          questions to the Kubernetes API          kubeconfig.py   where it is, and who we are
    answers.py      what networks answered                   encoding.py     how a state file is written
    log.py          warnings, and the log file's rotation    change.py       what a pod that runs gets and loses
    rechooser.py    how that is chosen                       sharing.py      which networks may be set up at once

Neither Kubernetes nor its API is needed for networks that the configuration lists; nothing of it is imported then.
"""
