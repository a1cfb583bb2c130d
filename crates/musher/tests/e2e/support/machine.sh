#!/bin/sh
# A machine of its own for a real systemd: namespaces around process 1, and a cgroup below which systemd is at home.
# $1: the cgroup; $2: what the kernel of this machine says of its boot. Run by support/machine.rs as root.
set -eu
if [ "${3-}" != inside ]; then
    mkdir -p "$1"
    echo $$ > "$1/cgroup.procs"
    exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child=KILL sh "$0" "$1" "$2" inside
fi
mount --make-rprivate /
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
echo "$2" > /run/boot-id
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id
# Limits of the whole kernel are none of this machine's.
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
# Only the units that are needed: nothing of the machine around is started. /etc outlives a boot.
mount --bind "$UNITS" /etc/systemd/system
for target in sysinit basic network-online multi-user shutdown; do
    printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\nRefuseManualStart=no\n' > "/run/$target.target"
done
printf 'After=basic.target\nRequires=basic.target\n' >> /run/multi-user.target
mkdir -p /run/units
mv /run/*.target /run/units
export container=musher-test SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units
exec /lib/systemd/systemd --system --log-target=console --log-level=info --show-status=0 --unit=multi-user.target
