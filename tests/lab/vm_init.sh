#!/bin/busybox sh
# The first process of the emulated machine: puts a writable layer over the files of the machine around it, then runs `start`.
# Files of that machine are read through 9p; what is changed here lives in memory and is thrown away.
B=/bin/busybox
$B mkdir -p /proc /sys /dev /lower /rw
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do $B insmod "$module"; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /lower
$B mount -t tmpfs tmpfs /rw
$B mkdir -p /rw/upper /rw/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new
for directory in proc sys dev; do $B mount --move /$directory /new/$directory; done
exchange=$($B sed 's/.*exchange=\([^ ]*\).*/\1/' /new/proc/cmdline)
exec $B switch_root /new /bin/sh "$exchange/start"
