# Derives from haproxy.cfg, on standard output, a balancer on this host for gateways on this host: the same lines, with
# other ports and the gateways by their addresses.
#
#   awk -v http=3000 -v device=4000 -v gateways="3001:4001 3002:4002" -f scripts/local-haproxy.awk haproxy.cfg
#
# A gateway is its port for REST and its port for devices.

/^ *bind :3000$/ { sub(/:3000/, "127.0.0.1:" http); changed++ }
/^ *bind :4000$/ { sub(/:4000/, "127.0.0.1:" device); changed++ }


/^ *server-template gateway [0-9]+ gateway:(3000|4000) / {
    count = split(gateways, ports, " ")
    is_device = /gateway:4000/
    options = $0
    sub(/^.*gateway:(3000|4000)/, "", options)
    for (i = 1; i <= count; i++) {
        split(ports[i], port, ":")
        own = options
        sub(/check port 3000/, "check port " port[1], own)
        print "    server gateway-" i " 127.0.0.1:" (is_device ? port[2] : port[1]) own
    }
    changed++
    next
}

{ print }

# A line that was rewritten so that it is no longer found must not go unnoticed.
END { if (changed != 4) exit 1 }
