# Ends what a killed test left behind. Run by support/reaper.rs in a session of its own; the test holds the other end of
# stdin. Each line there is a variable that marks processes, or `directory=` and a directory of the test's own.
trap '' HUP INT TERM
lines=$(cat)
marks=$(printf '%s\n' "$lines" | grep -v '^directory=')
[ -n "$marks" ] || exit 0
# The tree heals itself: once nothing is found, it is looked again.
groups=
rounds=0
quiet=0
while [ "$quiet" -lt 2 ] && [ "$rounds" -lt 200 ]; do
    rounds=$((rounds + 1))
    # Variables in environ(5) end with NUL; what another user has cannot be read.
    found=$(grep -lzFx -e "$marks" /proc/[0-9]*/environ 2> /dev/null | cut -d / -f 3)
    quiet=$((quiet + 1))
    if [ -n "$found" ]; then
        quiet=0
        for pid in $found; do
            groups="$groups $(sed -n 's,^0::\(.*/musher\.[^/]*\)/.*,\1,p' "/proc/$pid/cgroup" 2> /dev/null)"
        done
        kill -KILL $found 2> /dev/null
    fi
    sleep 0.1
done
# The cgroups of the daemons: their names are of random numbers. What still has processes stays.
root=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/self/mounts | head -n 1)
for group in $(printf '%s\n' $groups | sort -u); do
    find "$root$group" -depth -type d -exec rmdir {} \; 2> /dev/null
done
# Left there only by a test that was killed: others remove theirs.
printf '%s\n' "$lines" | sed -n 's/^directory=//p' | while read -r directory; do
    case $directory in
        /tmp/musher-*) rm -rf "$directory" ;;
    esac
done
