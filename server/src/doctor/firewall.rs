// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether this machine's own firewall lets machines in: read from nft(8), which shows iptables' rules too.

use super::finding::Finding;
use crate::{config::Config, tool::Tool};
use serde_json::Value;

/// A ruleset with all that may be in it.
const MAX_RULES: usize = 16 << 20;

/// Look at it.
pub fn look(config: &Config) -> Finding {
    if !nix::unistd::geteuid().is_root() {
        return Finding::skipped("firewall", "only root may read its rules");
    }
    let text = match Tool::new("nft", "nftables").args(["-j", "list", "ruleset"]).output(MAX_RULES) {
        Ok(text) => text,
        Err(e) => return Finding::skipped("firewall", format!("{e:#}")),
    };
    let Ok(rules) = serde_json::from_str::<Value>(&text) else {
        return Finding::skipped("firewall", "nft's answer cannot be understood");
    };
    let tcp = [config.serve.listen.port(), config.serve.peer_port];
    let closed = closed(&rules, &tcp, &[67, 69, 4011]);
    if closed.is_empty() {
        return Finding::good("firewall", "it lets machines in");
    }
    let list = |protocol: &str| {
        let ports: Vec<String> =
            closed.iter().filter(|(p, _)| *p == protocol).map(|(_, port)| port.to_string()).collect();
        (!ports.is_empty()).then(|| ports.join(", "))
    };
    let mut what = Vec::new();
    let mut cure = Vec::new();
    for protocol in ["tcp", "udp"] {
        if let Some(ports) = list(protocol) {
            what.push(format!("{protocol} {ports}"));
            cure.push(format!("nft insert rule {} {protocol} dport '{{ {ports} }}' accept", chain(&rules)));
        }
    }
    Finding::bad(
        "firewall",
        format!("it seems to drop {}", what.join(" and ")),
        "machines do not reach this server: 67, 69 and 4011 send them here, the others serve them",
        format!("{}; and in /etc/nftables.conf, to keep it", cure.join(" && ")),
    )
}

/// The chain into which a rule goes.
fn chain(rules: &Value) -> String {
    let input = inputs(rules).into_iter().next();
    let word = |c: &Value, key: &str| c[key].as_str().unwrap_or("?").to_owned();
    input.map_or("inet filter input".into(), |c| {
        format!("{} {} {}", word(c, "family"), word(c, "table"), word(c, "name"))
    })
}

fn objects<'a>(rules: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    rules["nftables"].as_array().into_iter().flatten().filter_map(move |o| o.get(kind))
}

/// The chains that everything comes through that is for this machine.
fn inputs(rules: &Value) -> Vec<&Value> {
    objects(rules, "chain").filter(|c| c["hook"] == "input" && c["type"] == "filter").collect()
}

/// The ports that some chain drops, as far as one can see: rules about addresses and interfaces are
/// taken to be about others.
fn closed(rules: &Value, tcp: &[u16], udp: &[u16]) -> Vec<(&'static str, u16)> {
    let all = tcp.iter().map(|p| ("tcp", *p)).chain(udp.iter().map(|p| ("udp", *p)));
    let dropped = |protocol: &str, port: u16| {
        inputs(rules)
            .iter()
            .any(|chain| !verdict(rules, chain, protocol, port, 0).unwrap_or(chain["policy"] != "drop"))
    };
    all.filter(|(protocol, port)| dropped(protocol, *port)).collect()
}

/// What a chain does with a packet to this port; `None`: its rules say nothing of it.
fn verdict(rules: &Value, chain: &Value, protocol: &str, port: u16, depth: u8) -> Option<bool> {
    let same = |r: &&Value| {
        r["chain"] == chain["name"] && r["table"] == chain["table"] && r["family"] == chain["family"]
    };
    for rule in objects(rules, "rule").filter(same) {
        let parts: Vec<&Value> = rule["expr"].as_array().into_iter().flatten().collect();
        // A rule about anything but the port is about some packets only.
        let about = parts.iter().filter_map(|p| p.get("match")).map(|m| matches(m, protocol, port));
        let about: Vec<Option<bool>> = about.collect();
        if about.contains(&Some(false)) {
            continue;
        }
        let sure = !about.contains(&None);
        for part in &parts {
            // What lets some in is taken to let our machines in; what keeps some out, to keep out others.
            if part.get("accept").is_some() && (sure || about.contains(&Some(true))) {
                return Some(true);
            }
            if (part.get("drop").is_some() || part.get("reject").is_some()) && sure {
                return Some(false);
            }
            let target = part.get("jump").or(part.get("goto")).filter(|_| sure && depth < 8);
            if let Some(target) = target {
                let next = objects(rules, "chain").find(|c| {
                    c["name"] == target["target"]
                        && c["table"] == chain["table"]
                        && c["family"] == chain["family"]
                });
                if let Some(said) = next.and_then(|n| verdict(rules, n, protocol, port, depth + 1)) {
                    return Some(said);
                }
            }
        }
    }
    None
}

/// Whether a match is true of a new packet to this port; `None`: it is about something else.
fn matches(m: &Value, protocol: &str, port: u16) -> Option<bool> {
    let (left, right) = (&m["left"], &m["right"]);
    let turn = |is: bool| if m["op"] == "!=" { !is } else { is };
    if left["payload"]["field"] == "dport" {
        let named = left["payload"]["protocol"].as_str().unwrap_or_default();
        return Some(turn((named == protocol || named == "th") && has(right, port)));
    }
    let key = left["meta"]["key"].as_str().unwrap_or_default();
    if key == "l4proto" || left["payload"]["field"] == "protocol" {
        return Some(turn(words(right).contains(&protocol)));
    }
    // `ct state established` and the like: this packet is a new one.
    if left["ct"]["key"] == "state" {
        return Some(turn(words(right).contains(&"new")));
    }
    if key == "iifname" || key == "iif" {
        return if words(right).contains(&"lo") { Some(turn(false)) } else { None };
    }
    None
}

fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(word) => vec![word],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        Value::Object(o) => o.get("set").map(words).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Whether a port, a range or a set has this port.
fn has(value: &Value, port: u16) -> bool {
    match value {
        Value::Number(n) => n.as_u64() == Some(port.into()),
        Value::Array(all) => all.iter().any(|v| has(v, port)),
        Value::Object(o) => match (o.get("set"), o.get("range").and_then(Value::as_array)) {
            (Some(set), _) => has(set, port),
            (_, Some(range)) => {
                let end = |n: usize| range.get(n).and_then(Value::as_u64).unwrap_or(u64::MAX);
                (end(0)..=end(1)).contains(&port.into())
            }
            _ => false,
        },
        // A named set: its elements are elsewhere; taken to be about others.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ruleset(policy: &str, rules: &[Value]) -> Value {
        let mut all = vec![
            json!({"metainfo": {"version": "1"}}),
            json!({"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "policy": policy}}),
            json!({"chain": {"family": "inet", "table": "filter", "name": "more"}}),
        ];
        for (n, expr) in rules.iter().enumerate() {
            let chain = if expr[0]["more"] == true { "more" } else { "input" };
            let expr: Vec<&Value> =
                expr.as_array().unwrap().iter().filter(|e| e.get("more").is_none()).collect();
            all.push(json!({"rule": {"family": "inet", "table": "filter", "chain": chain, "handle": n, "expr": expr}}));
        }
        json!({ "nftables": all })
    }

    fn dport(protocol: &str, right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": right}})
    }

    #[test]
    fn what_is_dropped() {
        let (accept, drop, reject) =
            (json!({"accept": null}), json!({"drop": null}), json!({"reject": null}));
        let state = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}});
        let lo = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}});
        let eth = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth1"}});
        let saddr = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.9"}});
        let tcp = json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}});
        let jump = json!({"jump": {"target": "more"}});
        let set = dport("tcp", json!({"set": [22, 6980, {"range": [7000, 8000]}]}));
        for (policy, rules, want) in [
            ("accept", vec![], vec![]),
            ("drop", vec![], vec![("tcp", 6980), ("tcp", 7001), ("udp", 69)]),
            (
                "drop",
                vec![json!([state, accept]), json!([lo, accept]), json!([set, accept])],
                vec![("udp", 69)],
            ),
            ("drop", vec![json!([tcp, accept])], vec![("udp", 69)]),
            ("accept", vec![json!([dport("tcp", json!(6980)), reject])], vec![("tcp", 6980)]),
            ("accept", vec![json!([saddr, drop])], vec![]),
            ("drop", vec![json!([eth, dport("th", json!({"range": [1, 65535]})), accept])], vec![]),
            ("drop", vec![json!([jump]), json!([{"more": true}, accept])], vec![]),
            (
                "accept",
                vec![json!([dport("udp", json!(69)), accept]), json!([drop])],
                vec![("tcp", 6980), ("tcp", 7001)],
            ),
        ] {
            assert_eq!(closed(&ruleset(policy, &rules), &[6980, 7001], &[69]), want, "{policy} {rules:?}");
        }
        assert_eq!(closed(&json!({"nftables": []}), &[6980], &[69]), []);
        assert_eq!(chain(&ruleset("drop", &[])), "inet filter input");
    }
}
