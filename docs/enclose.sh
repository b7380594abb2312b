#!/bin/sh
# A network for one agent, in which there is nothing but the gate.
#
#   enclose.sh up NAME                                 make it; prints where the gate has to listen
#   enclose.sh run NAME USER ENVIRONMENT COMMAND...    run a command in it, as USER, with what "claiim env" printed
#   enclose.sh down NAME                               take it away
#
# Run by root, on Linux, with iproute2, nftables and util-linux. NAME has at most 9 of a-z and 0-9. From the environment:
#
#   ENCLOSURE_GATE, ENCLOSURE_AGENT    their addresses, 10.77.0.1 and 10.77.0.2: another pair for each enclosure
#   ENCLOSURE_PORTS                    what the agent may reach of the gate: "8080, 8181"
#   ENCLOSURE_REDIRECT                 the port of a transparent listener, that connections to 80 and 443 are led to
#   ENCLOSURE_HOSTS                    with it, the hosts that the agent may ask for: "api.github.com pypi.org"
#
# docs/enclosure.md says what it keeps in, and what it does not.
set -eu

gate="${ENCLOSURE_GATE:-10.77.0.1}"
agent="${ENCLOSURE_AGENT:-10.77.0.2}"
ports="${ENCLOSURE_PORTS:-8080, 8181}"
redirect="${ENCLOSURE_REDIRECT:-}"
hosts="${ENCLOSURE_HOSTS:-}"

usage() {
    sed -n '4,6s/^# *//p' "$0" >&2
    exit 2
}

[ $# -ge 2 ] || usage
verb="$1" name="$2"
shift 2
case "$name" in
    *[!a-z0-9]* | ??????????*) echo "enclose.sh: \"$name\" is no name; use up to 9 of a-z and 0-9" >&2; exit 2 ;;
esac
link="claiim$name"

up() {
    led="" taken=""
    if [ -n "$redirect" ]; then
        led="iifname \"$link\" ip saddr $agent ip daddr != $gate tcp dport { 80, 443 } redirect to :$redirect"
        # Only what was led there: a connection to the port itself names no place to go.
        taken="iifname \"$link\" ip saddr $agent tcp dport $redirect ct status dnat accept"
    fi
    # The rules come first: there is no moment in which the network is open. "iifname" needs no interface to be there.
    nft -f - <<RULES
table inet claiim_$name
delete table inet claiim_$name
table inet claiim_$name {
    chain led {
        type nat hook prerouting priority -100; policy accept;
        $led
    }
    chain to_gate {
        type filter hook input priority -10; policy accept;
        iifname "$link" ip saddr $agent ip daddr $gate tcp dport { $ports } accept
        $taken
        iifname "$link" drop
    }
    chain through {
        type filter hook forward priority -10; policy accept;
        iifname "$link" drop
        oifname "$link" drop
    }
}
RULES
    # No resolver: the gate resolves. "ip netns exec" puts this file over /etc/resolv.conf.
    mkdir -p "/etc/netns/$name"
    echo "# none: the gate resolves names" > "/etc/netns/$name/resolv.conf"
    # Where nothing reads HTTPS_PROXY, names need an address to connect to; which, is for the gate to find out.
    {
        echo "127.0.0.1 localhost"
        for host in $hosts; do echo "192.0.2.1 $host"; done
    } > "/etc/netns/$name/hosts"
    ip netns add "$name"
    ip link add "$link" type veth peer name eth0 netns "$name"
    # Answers of this machine to fe80:: addresses would be a way in; the agent's side has no IPv6 at all.
    ip netns exec "$name" sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6' 2> /dev/null || true
    ip address add "$gate/30" dev "$link"
    ip link set "$link" up
    ip -n "$name" address add "$agent/30" dev eth0
    ip -n "$name" link set lo up
    ip -n "$name" link set eth0 up
    [ -z "$redirect" ] || ip -n "$name" route add default via "$gate"
    echo "the gate listens on $gate, ports $ports; the agent is $agent"
}

run() {
    [ $# -ge 3 ] || usage
    user="$1"
    exec 3< "$2" # opened here: only root has to be able to read the token in it
    shift 2
    # Its own processes only, so that it can enter no other's network; an empty /run, because sockets there (a
    # resolver's, Docker's, D-Bus) lead out of any network; no privilege and no way to get one.
    # shellcheck disable=SC2016 # $0 and $@ are the inner shells'
    exec ip netns exec "$name" unshare --mount --pid --ipc --fork --kill-child --mount-proc sh -c '
        mount -t tmpfs -o mode=755,nosuid,nodev,noexec none /run
        exec setpriv --reuid "$0" --regid "$(id -g "$0")" --clear-groups --no-new-privs \
            --inh-caps=-all --ambient-caps=-all --bounding-set=-all --reset-env \
            sh -c '\''eval "$(cat <&3)"; exec 3<&-; exec "$@"'\'' sh "$@"
    ' "$user" "$@"
}

down() {
    # In this order: while the link is there its rules are.
    ip netns delete "$name" 2> /dev/null || true
    ip link delete "$link" 2> /dev/null || true
    nft delete table inet "claiim_$name" 2> /dev/null || true
    rm -rf "/etc/netns/$name"
}

case "$verb" in
    up | run | down) "$verb" "$@" ;;
    *) usage ;;
esac
