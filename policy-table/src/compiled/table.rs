//! A table as bytes, and back.
//!
//! Arrives: a [`Table`], or bytes of unknown origin. Leaves: bytes, or a table in which every reference leads somewhere. What
//! follows from something else is not written: who has a name or an address, the pages of ports, the automata.

use std::sync::Arc;

use super::wire::{Read, Reader, Writer};
use crate::compile::pages;
use crate::http::HttpRules;
use crate::identity::Identity;
use crate::label::{Label, Labels};
use crate::members::Members;
use crate::names::NameIndex;
use crate::rule::name::NamePattern;
use crate::rule::pattern::Pattern;
use crate::rule::{HeaderRule, HttpRule, PolicyKind, Protocol, RuleOrigin};
use crate::side::{IdentitySet, PortDns, PortHttp, PortMap, RuleGroup, Side, Slot, SlotClause};
use crate::snapshot::ContainerPort;
use crate::table::{Endpoint, IdentityRecord, OwnSide, Service, ServicePort, Sides, Table};
use crate::verdict::{CauseKind, MatchType, RuleId};

const KINDS: [PolicyKind; 3] =
    [PolicyKind::Cilium, PolicyKind::CiliumClusterwide, PolicyKind::Kubernetes];
const EFFECTS: [CauseKind; 5] = [
    CauseKind::Denied,
    CauseKind::Allowed,
    CauseKind::Inspected,
    CauseKind::Resolved,
    CauseKind::Objected,
];
const MATCHES: [MatchType; 7] = [
    MatchType::None,
    MatchType::L3L4,
    MatchType::L4Only,
    MatchType::L3Proto,
    MatchType::ProtoOnly,
    MatchType::L3Only,
    MatchType::All,
];

/// Writes which of `all` it is.
fn choice<T: PartialEq>(out: &mut Writer, all: &[T], one: &T) {
    let place = all.iter().position(|known| known == one);
    out.byte(place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX));
}

fn chosen<T: Copy>(from: &mut Reader<'_>, all: &[T]) -> Read<T> {
    let place = usize::from(from.byte()?);
    all.get(place).copied().ok_or(from.nonsense("one of a few words"))
}

/// The lists of HTTP rules and of names that slots share, each once.
#[derive(Default)]
struct SharedLists {
    http: Vec<Arc<HttpRules>>,
    names: Vec<Arc<NameIndex>>,
}

impl SharedLists {
    fn of(table: &Table) -> Self {
        let mut lists = Self::default();
        let mut seen = hashbrown::HashSet::new();
        for slot in table.sides.iter().flat_map(|side| &side.slots) {
            if let Some(http) = &slot.http
                && seen.insert(Arc::as_ptr(&http.rules).addr())
            {
                lists.http.push(Arc::clone(&http.rules));
            }
            if let Some(dns) = &slot.dns
                && seen.insert(Arc::as_ptr(&dns.names).addr())
            {
                lists.names.push(Arc::clone(&dns.names));
            }
        }
        lists
    }

    /// The place of each list, by its address in memory.
    fn places(&self) -> hashbrown::HashMap<usize, u32> {
        let http = self.http.iter().map(|list| Arc::as_ptr(list).addr()).zip(0..);
        let names = self.names.iter().map(|list| Arc::as_ptr(list).addr()).zip(0..);
        http.chain(names).collect()
    }
}

/// Writes a table.
pub(super) fn write(table: &Table) -> Vec<u8> {
    let mut out = Writer::default();
    out.list(table.identities.iter().collect::<Vec<_>>(), write_identity);
    out.list(table.sets.iter().collect::<Vec<_>>(), |out, set| out.set(set.bitmap()));
    out.list(table.rules.iter().collect::<Vec<_>>(), |out, origin| {
        out.optional(origin.as_ref(), |out, origin| write_origin(out, origin));
    });
    let lists = SharedLists::of(table);
    out.list(&lists.http, |out, list| out.list(list.rules(), write_http_rule));
    out.list(&lists.names, |out, list| {
        out.list(list.patterns(), |out, name| out.text(name.text()));
    });
    let places = lists.places();
    out.list(table.sides.iter().collect::<Vec<_>>(), |out, side| write_side(out, side, &places));
    out.list(table.endpoints.iter().zip(table.sides_of.iter()).collect::<Vec<_>>().iter(), {
        |out, (endpoint, sides)| write_endpoint(out, endpoint, sides)
    });
    let exact = table.prefixes.exact.iter();
    let mut others: Vec<_> =
        exact.filter(|(address, _)| table.by_address.of(*address).is_none()).collect();
    others.sort();
    out.list(others, |out, (address, identity)| {
        out.address(*address);
        out.number(identity.number());
    });
    for world in [table.prefixes.world_v4, table.prefixes.world_v6] {
        out.optional(world, |out, world| out.number(world.number()));
    }
    out.list(table.services.iter().collect::<Vec<_>>(), |out, service| write_service(out, service));
    out.list(table.names.patterns(), |out, name| out.text(name.text()));
    for identity in table.name_identities.iter() {
        out.number(identity.number());
    }
    out.finish()
}

/// Reads a table.
pub(super) fn read(bytes: &[u8]) -> Read<Table> {
    let mut reader = Reader::new(bytes)?;
    let from = &mut reader;
    let mut table =
        Table { identities: from.list(read_identity)?.into_iter().collect(), ..Table::default() };
    let levels = Arc::make_mut(&mut table.prefixes.levels);
    for record in table.identities.iter() {
        if let Some(prefix) = record.prefix {
            levels.set(prefix, Some(record.identity));
        }
    }
    table.sets = from.list(|from| Ok(Members::new(Arc::new(from.set()?))))?.into_iter().collect();
    let mut files = hashbrown::HashMap::new();
    let rules =
        from.list(|from| from.optional(|from| read_origin(from, &mut files).map(Arc::new)))?;
    table.rules = rules.into_iter().collect();
    let lists = SharedLists {
        http: from.list(|from| Ok(Arc::new(HttpRules::new(from.list(read_http_rule)?.into()))))?,
        names: from.list(|from| Ok(Arc::new(NameIndex::new(from.list(read_name)?))))?,
    };
    let known = Known { sets: table.sets.len(), rules: table.rules.len(), lists: &lists };
    table.sides = from.list(|from| read_side(from, &known).map(Arc::new))?.into_iter().collect();
    read_endpoints(from, &mut table)?;
    let others = from.list(|from| Ok((from.address()?, read_number(from)?)))?;
    for (address, identity) in others {
        from.check(table.by_address.of(address).is_none(), "an address that no pod has")?;
        table.prefixes.exact.set(address, Some(identity));
    }
    table.prefixes.world_v4 = from.optional(read_number)?;
    table.prefixes.world_v6 = from.optional(read_number)?;
    table.services = from.list(|from| read_service(from).map(Arc::new))?.into_iter().collect();
    let names = from.list(read_name)?;
    let identities = names.iter().map(|_| read_number(from)).collect::<Read<Vec<_>>>()?;
    table.names = Arc::new(NameIndex::new(names));
    table.name_identities = identities.into();
    reader.finish()?;
    Ok(table)
}

fn read_number(from: &mut Reader<'_>) -> Read<Identity> {
    from.number().map(Identity::from_number)
}

fn write_identity(out: &mut Writer, record: &IdentityRecord) {
    out.number(record.identity.number());
    out.list(record.labels.iter(), |out, label| {
        out.text(&label.source);
        out.text(&label.key);
        out.text(&label.value);
    });
    out.optional(record.prefix, Writer::prefix);
}

fn read_identity(from: &mut Reader<'_>) -> Read<IdentityRecord> {
    let identity = read_number(from)?;
    let labels = from.list(|from| {
        let (source, key, value) = (from.text()?, from.text()?, from.text()?);
        Ok(Label::new(source, key, value))
    })?;
    let prefix = from.optional(Reader::prefix)?;
    Ok(IdentityRecord { identity, labels: Arc::new(Labels::from_iter(labels)), prefix })
}

fn write_origin(out: &mut Writer, origin: &RuleOrigin) {
    choice(out, &KINDS, &origin.kind);
    for text in [&origin.namespace, &origin.name, &*origin.file, &origin.field] {
        out.text(text);
    }
    out.number(origin.line);
}

fn read_origin<'b>(
    from: &mut Reader<'b>,
    files: &mut hashbrown::HashMap<&'b str, Arc<str>>,
) -> Read<RuleOrigin> {
    let kind = chosen(from, &KINDS)?;
    let (namespace, name) = (from.text()?.to_owned(), from.text()?.to_owned());
    let file = from.text()?;
    let file = Arc::clone(files.entry(file).or_insert_with(|| file.into()));
    let field = from.text()?.to_owned();
    Ok(RuleOrigin { kind, namespace, name, file, line: from.number()?, field })
}

fn write_http_rule(out: &mut Writer, rule: &HttpRule) {
    for pattern in [&rule.path, &rule.method, &rule.host] {
        out.optional(pattern.as_ref(), |out, pattern| out.text(pattern.text()));
    }
    for headers in [&rule.headers, &rule.logged] {
        out.list(headers, |out, header| {
            out.text(&header.name);
            out.optional(header.value.as_deref(), Writer::text);
        });
    }
}

fn read_http_rule(from: &mut Reader<'_>) -> Read<HttpRule> {
    let pattern = |from: &mut Reader<'_>| from.optional(|from| from.text().map(Pattern::new));
    let headers = |from: &mut Reader<'_>| {
        from.list(|from| {
            let name = from.text()?.to_owned();
            Ok(HeaderRule { name, value: from.optional(|from| from.text().map(str::to_owned))? })
        })
    };
    Ok(HttpRule {
        path: pattern(from)?,
        method: pattern(from)?,
        host: pattern(from)?,
        headers: headers(from)?,
        logged: headers(from)?,
    })
}

fn read_name(from: &mut Reader<'_>) -> Read<NamePattern> {
    let text = from.text()?;
    let name = NamePattern::pattern(text).map_err(|_not_one| from.nonsense("a name"))?;
    from.check(name.text() == text, "a name in its one form")?;
    Ok(name)
}

fn write_set(out: &mut Writer, set: IdentitySet) {
    match set {
        IdentitySet::None => out.byte(0),
        IdentitySet::All => out.byte(1),
        IdentitySet::These(number) => {
            out.byte(2);
            out.number(number);
        }
    }
}

/// What a side may refer to.
struct Known<'k> {
    sets: usize,
    rules: usize,
    lists: &'k SharedLists,
}

impl Known<'_> {
    fn set(&self, from: &mut Reader<'_>) -> Read<IdentitySet> {
        match from.byte()? {
            0 => Ok(IdentitySet::None),
            1 => Ok(IdentitySet::All),
            2 => from.place(self.sets).map(IdentitySet::These),
            _ => Err(from.nonsense("a kind of set")),
        }
    }

    fn rule(&self, from: &mut Reader<'_>) -> Read<RuleId> {
        from.place(self.rules).map(RuleId)
    }

    /// Groups of rules, one for each of a list.
    fn groups(&self, from: &mut Reader<'_>, wanted: usize) -> Read<Vec<RuleGroup>> {
        let groups = from.list(|from| {
            let peers = self.set(from)?;
            let sources = from.list(|from| Ok((self.set(from)?, self.rule(from)?)))?;
            Ok(RuleGroup { peers, sources })
        })?;
        from.check(groups.len() == wanted, "a group for each rule")?;
        Ok(groups)
    }
}

fn write_side(out: &mut Writer, side: &Side, places: &hashbrown::HashMap<usize, u32>) {
    out.byte(u8::from(side.enforced));
    out.byte(u8::from(side.tried));
    write_set(out, side.names);
    let groups = |out: &mut Writer, groups: &[RuleGroup]| {
        out.list(groups, |out, group| {
            write_set(out, group.peers);
            out.list(&group.sources, |out, (set, rule)| {
                write_set(out, *set);
                out.number(rule.0);
            });
        });
    };
    let place = |address: usize| places.get(&address).copied().unwrap_or(u32::MAX);
    out.list(&side.slots, |out, slot| {
        for set in [slot.denied, slot.objected, slot.allowed, slot.inspected, slot.resolved] {
            write_set(out, set);
        }
        out.optional(slot.http.as_ref(), |out, http| {
            out.number(place(Arc::as_ptr(&http.rules).addr()));
            groups(out, &http.groups);
        });
        out.optional(slot.dns.as_ref(), |out, dns| {
            out.number(place(Arc::as_ptr(&dns.names).addr()));
            groups(out, &dns.groups);
        });
        out.list(&slot.clauses, |out, clause| {
            write_set(out, clause.peers);
            choice(out, &EFFECTS, &clause.kind);
            choice(out, &MATCHES, &clause.matched);
            out.optional(clause.rule, |out, rule| out.number(rule.0));
        });
    });
    for map in &side.maps {
        out.list(&map.runs(), |out, (port, slot)| {
            out.number(u32::from(*port));
            out.number(*slot);
        });
    }
}

fn read_side(from: &mut Reader<'_>, known: &Known<'_>) -> Read<Side> {
    let (enforced, tried) = (from.truth()?, from.truth()?);
    let names = known.set(from)?;
    let slots = from.list(|from| {
        let mut sets = [IdentitySet::None; 5];
        for set in &mut sets {
            *set = known.set(from)?;
        }
        let [denied, objected, allowed, inspected, resolved] = sets;
        let http = from.optional(|from| {
            let place = from.number()?;
            let rules = usize::try_from(place).ok().and_then(|place| known.lists.http.get(place));
            let rules = Arc::clone(rules.ok_or(from.nonsense("a list of HTTP rules"))?);
            let groups = known.groups(from, rules.rules().len())?;
            Ok(PortHttp { rules, groups })
        })?;
        let dns = from.optional(|from| {
            let place = from.number()?;
            let names = usize::try_from(place).ok().and_then(|place| known.lists.names.get(place));
            let names = Arc::clone(names.ok_or(from.nonsense("a list of names"))?);
            let groups = known.groups(from, names.patterns().len())?;
            Ok(PortDns { names, groups })
        })?;
        let clauses = from.list(|from| {
            let peers = known.set(from)?;
            let kind = chosen(from, &EFFECTS)?;
            let matched = chosen(from, &MATCHES)?;
            let rule = from.optional(|from| known.rule(from))?;
            Ok(SlotClause { peers, kind, matched, rule })
        })?;
        Ok(Slot { denied, objected, allowed, inspected, http, resolved, dns, clauses })
    })?;
    let mut maps: [PortMap; 6] = std::array::from_fn(|_| PortMap::Uniform(u32::MAX));
    for map in &mut maps {
        let runs = from.list(|from| Ok((from.port()?, from.place(slots.len())?)))?;
        let begins = runs.first().is_some_and(|(first, _)| *first == 0);
        let ascends = runs.windows(2).all(|pair| matches!(pair, [one, two] if one.0 < two.0));
        from.check(begins && ascends, "runs of ports from 0 upwards")?;
        *map = pages(&runs);
    }
    Ok(Side { enforced, tried, maps, slots, names })
}

fn write_endpoint(out: &mut Writer, endpoint: &Endpoint, sides: &Sides) {
    out.text(&endpoint.namespace);
    out.text(&endpoint.name);
    out.list(&endpoint.addresses, |out, address| out.address(*address));
    out.number(endpoint.identity.number());
    out.byte(u8::from(endpoint.ingress_enforced));
    // Audit mode is the second bit.
    out.byte(u8::from(endpoint.egress_enforced) | u8::from(endpoint.audited) << 1);
    out.optional(endpoint.node.as_deref(), Writer::text);
    out.list(&endpoint.ports, |out, port| {
        out.optional(port.name.as_deref(), Writer::text);
        out.number(u32::from(port.port));
        out.byte(port.protocol.0);
    });
    out.number(sides.egress.number);
    out.number(sides.ingress.number);
}

fn read_endpoints(from: &mut Reader<'_>, table: &mut Table) -> Read<()> {
    let records = table.identities.iter();
    let labels: hashbrown::HashMap<Identity, Arc<Labels>> =
        records.map(|record| (record.identity, Arc::clone(&record.labels))).collect();
    from.list(|from| {
        let (namespace, name) = (from.text()?.to_owned(), from.text()?.to_owned());
        let addresses = from.list(Reader::address)?;
        let identity = read_number(from)?;
        let labels = labels.get(&identity).map(Arc::clone).unwrap_or_default();
        let ingress_enforced = from.truth()?;
        let flags = from.byte()?;
        from.check(flags < 4, "whether egress is enforced and audited")?;
        let (egress_enforced, audited) = (flags & 1 != 0, flags & 2 != 0);
        let node = from.optional(|from| from.text().map(str::to_owned))?;
        let ports = from.list(|from| {
            let name = from.optional(|from| from.text().map(str::to_owned))?;
            Ok(ContainerPort { name, port: from.port()?, protocol: Protocol(from.byte()?) })
        })?;
        let egress = from.place(table.sides.len())?;
        let ingress = from.place(table.sides.len())?;
        let new = addresses.iter().all(|address| table.by_address.of(*address).is_none())
            && table.endpoint_named(&namespace, &name).is_none();
        from.check(new, "a pod with a name and addresses of its own")?;
        for address in &addresses {
            table.prefixes.exact.set(*address, Some(identity));
        }
        let index = table.add_endpoint(Endpoint {
            namespace,
            name,
            addresses,
            identity,
            labels,
            ingress_enforced,
            egress_enforced,
            node,
            ports,
            audited,
        });
        let own = |number| OwnSide::of(number, audited, &table.sides);
        let own = Sides { egress: own(egress), ingress: own(ingress) };
        if let Some(sides) = table.sides_of.get_mut(index.position()) {
            *sides = own;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_service(out: &mut Writer, service: &Service) {
    out.text(&service.namespace);
    out.text(&service.name);
    out.list(&service.cluster_ips, |out, address| out.address(*address));
    out.list(&service.ports, |out, port| {
        out.text(&port.name);
        out.number(u32::from(port.port));
        out.byte(port.protocol.0);
        out.list(&port.backends, |out, backend| out.socket(*backend));
    });
}

fn read_service(from: &mut Reader<'_>) -> Read<Service> {
    Ok(Service {
        namespace: from.text()?.to_owned(),
        name: from.text()?.to_owned(),
        cluster_ips: from.list(Reader::address)?,
        ports: from.list(|from| {
            Ok(ServicePort {
                name: from.text()?.to_owned(),
                port: from.port()?,
                protocol: Protocol(from.byte()?),
                backends: from.list(Reader::socket)?,
            })
        })?,
    })
}
