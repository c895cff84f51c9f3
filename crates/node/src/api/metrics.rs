//! `/metrics`: the snapshot and the catalogue's counts as OpenMetrics. Labels are feeds, states and
//! nodes, which are bounded; a file or a transfer never is one.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::catalogue::TransferCount;
use crate::driver::snapshot::{ConsumedFeed, Member, ProducedFeed, Snapshot};

type Labels = Vec<(&'static str, String)>;

/// All metrics as text. They are collected anew for each scrape: nothing has to be kept in step.
pub(super) fn render(
    snapshot: &Snapshot,
    transfers: &[TransferCount],
    catalogue_degraded: bool,
) -> String {
    let mut sheet = Sheet::default();
    sheet.node(snapshot, catalogue_degraded);
    sheet.members(&snapshot.node, &snapshot.members);
    sheet.produced(&snapshot.produces);
    sheet.consumed(&snapshot.consumes);
    sheet.transfers(transfers);
    let mut out = String::new();
    text::encode(&mut out, &sheet.registry).expect("a String always has room");
    out
}

#[derive(Default)]
struct Sheet {
    registry: Registry,
}

impl Sheet {
    fn node(&mut self, node: &Snapshot, catalogue_degraded: bool) {
        let about = vec![
            ("node", node.node.clone()),
            ("version", node.version.clone()),
        ];
        self.gauge(
            "consign_build_info",
            "The node and its version",
            [(about, 1)],
        );
        self.single(
            "consign_start_time_seconds",
            "When the agent started, since the Unix epoch",
            node.started_at.0 / 1000,
        );
        self.single(
            "consign_incarnation",
            "The node's boot counter",
            node.incarnation,
        );
        self.single(
            "consign_ready",
            "1 when the node accepts files and connections",
            u64::from(node.ready),
        );
        self.single(
            "consign_problems",
            "Things that a person should look at",
            node.problems.len() as u64,
        );
        self.single(
            "consign_catalogue_degraded",
            "1 when listings are incomplete",
            u64::from(catalogue_degraded),
        );
        self.single(
            "consign_log_segments",
            "Segments of the intent log",
            node.log.segments,
        );
        self.single(
            "consign_log_bytes",
            "Size of the intent log",
            node.log.bytes,
        );
        self.single(
            "consign_log_has_room",
            "1 when the intent log takes new files",
            u64::from(node.log.has_room),
        );
    }

    fn members(&mut self, me: &str, members: &[Member]) {
        let by_node = |value: fn(&Member) -> u64| {
            let labelled = |member: &Member| (label("node", &member.name), value(member));
            let listed = members.iter().filter(|member| member.state != "not listed");
            listed.map(labelled).collect::<Vec<_>>()
        };
        let mut connected = by_node(|member| u64::from(member.connected));
        // It needs no connection to itself.
        connected.retain(|(labelled, _)| *labelled != label("node", me));
        self.gauge(
            "consign_member_connected",
            "1 while there is a connection to the member",
            connected,
        );
        let senders = members.iter().filter(|member| member.sends_here).count();
        self.single(
            "consign_producers_connected",
            "Producers that have a connection to this node",
            senders as u64,
        );
        self.gauge(
            "consign_member_owed_files",
            "Files that this node owes the member",
            by_node(|member| member.owed_files),
        );
    }

    fn produced(&mut self, feeds: &[ProducedFeed]) {
        let by_feed = |value: fn(&ProducedFeed) -> u64| {
            let labelled = |feed: &ProducedFeed| (label("feed", &feed.feed), value(feed));
            feeds.iter().map(labelled).collect::<Vec<_>>()
        };
        self.gauge(
            "consign_queue_files",
            "Files submitted and not done",
            by_feed(|feed| feed.queued_files),
        );
        self.gauge(
            "consign_queue_bytes",
            "Their bytes",
            by_feed(|feed| feed.queued_bytes),
        );
        self.gauge(
            "consign_active_files",
            "Files that move right now",
            by_feed(|feed| feed.active),
        );
        self.gauge(
            "consign_failed_files",
            "Files that need a person",
            by_feed(|feed| feed.failed),
        );
        self.gauge(
            "consign_feed_waiting",
            "1 when the feed's queue waits for something",
            by_feed(|feed| u64::from(feed.waiting_reason.is_some())),
        );
        // The encoder appends `_total`.
        self.counter(
            "consign_done_files",
            "Files done since the agent started",
            by_feed(|feed| feed.done_total),
        );
        self.counter(
            "consign_done_bytes",
            "Their bytes",
            by_feed(|feed| feed.done_bytes_total),
        );
    }

    fn consumed(&mut self, feeds: &[ConsumedFeed]) {
        let by_feed = |value: fn(&ConsumedFeed) -> u64| {
            let labelled = |feed: &ConsumedFeed| (label("feed", &feed.feed), value(feed));
            feeds.iter().map(labelled).collect::<Vec<_>>()
        };
        self.gauge(
            "consign_inbox_free_bytes",
            "Space left on the inbox's filesystem",
            by_feed(|feed| feed.free_bytes),
        );
        self.gauge(
            "consign_staged_files",
            "Files on their way into the inbox",
            by_feed(|feed| feed.staged_files),
        );
        self.gauge(
            "consign_staged_bytes",
            "Their bytes in staging",
            by_feed(|feed| feed.staged_bytes),
        );
        self.counter(
            "consign_published_files",
            "Files published since the agent started",
            by_feed(|feed| feed.published_total),
        );
        self.counter(
            "consign_published_bytes",
            "Their bytes",
            by_feed(|feed| feed.published_bytes_total),
        );
    }

    fn transfers(&mut self, counts: &[TransferCount]) {
        let labelled = counts.iter().map(|count| {
            let mut labels = label("feed", &count.feed);
            labels.push(("state", count.state.to_string()));
            (labels, count.files)
        });
        self.gauge(
            "consign_transfers",
            "Transfers in the catalogue, history included",
            labelled,
        );
    }

    fn single(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.registry.register(name, help, gauge);
    }

    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in samples {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_or_create(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}
