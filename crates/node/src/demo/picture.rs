//! What a person sees meanwhile, on stderr: a live picture on a terminal, a line now and then
//! elsewhere.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::cluster::Cluster;
use super::node::Node;
use super::watch::{Eyes, Moving};
use crate::cli::human;

/// Pause between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Large files that are drawn.
const MOVING_SHOWN_MAX: usize = 4;

/// Where progress is shown.
#[derive(Debug)]
pub(super) enum Picture {
    /// A terminal.
    Live(Live),
    /// Anything else: when the last line was written.
    Lines(Cell<Option<Instant>>),
}

/// The lines on a terminal, the last ones first made.
#[derive(Debug)]
pub(super) struct Live {
    all: MultiProgress,
    nodes: ProgressBar,
    files: ProgressBar,
    moving: Vec<ProgressBar>,
}

impl Picture {
    /// A picture for what stderr is.
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Cell::new(None));
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let line = |template: &str| {
            let style = ProgressStyle::with_template(template).expect("a constant");
            all.add(ProgressBar::new(0).with_style(style.progress_chars("━╸─")))
        };
        Self::Live(Live {
            nodes: line("{msg}"),
            files: line("{bar:30} {msg}"),
            moving: (0..MOVING_SHOWN_MAX).map(|_| line("{msg}")).collect(),
            all,
        })
    }

    /// Says something that stays.
    pub(super) fn say(&self, text: &str) {
        match self {
            Self::Live(live) => live.all.suspend(|| eprintln!("{text}")),
            Self::Lines(_) => eprintln!("{text}"),
        }
    }

    /// Shows how it stands.
    pub(super) fn show(&self, cluster: &Cluster, eyes: &Eyes) {
        match self {
            Self::Live(live) => live.show(cluster, eyes),
            Self::Lines(last) => {
                if last.get().is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    last.set(Some(Instant::now()));
                    eprintln!("{}  {}; {}", elapsed(eyes), files(eyes), nodes(cluster));
                }
            }
        }
    }

    /// Takes the moving lines away.
    pub(super) fn end(&self) {
        if let Self::Live(live) = self {
            // Only drawing can fail, and there is nothing left to draw.
            let _ = live.all.clear();
        }
    }
}

impl Live {
    fn show(&self, cluster: &Cluster, eyes: &Eyes) {
        let progress = eyes.progress();
        self.nodes.set_message(nodes(cluster));
        self.files.set_length(progress.handed.max(1));
        self.files.set_position(progress.done);
        self.files.set_message(files(eyes));
        let moving = eyes.moving();
        for (at, bar) in self.moving.iter().enumerate() {
            bar.set_message(moving.get(at).map(large).unwrap_or_default());
        }
    }
}

fn elapsed(eyes: &Eyes) -> String {
    human::span(u64::try_from(eyes.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// `1,204 of 2,054 files done, 183 MiB/s`.
fn files(eyes: &Eyes) -> String {
    let progress = eyes.progress();
    let failed = match progress.failed {
        0 => String::new(),
        failed => format!(", {} failed", human::count(failed)),
    };
    format!(
        "{} of {} done{failed}, {}/s",
        human::count(progress.done),
        human::files(progress.handed),
        human::bytes(eyes.rate())
    )
}

/// `prod-1 up · cons-2 killed · cons-3 restarting`.
fn nodes(cluster: &Cluster) -> String {
    let state = |node: &Node| match (node.is_up(), node.is_ready()) {
        (false, _) => "killed",
        (true, false) => "restarting",
        (true, true) => "up",
    };
    let nodes = cluster.nodes.iter();
    let nodes: Vec<_> = nodes
        .map(|node| format!("{} {}", node.name, state(node)))
        .collect();
    nodes.join(" · ")
}

/// `archive.bin from prod-1, attempt 2: cons-1 96 MiB, cons-3 90 MiB of 256 MiB`.
fn large(moving: &Moving) -> String {
    let transfer = &moving.transfer;
    let consumers = transfer.consumers.iter();
    let consumers = consumers.map(|c| format!("{} {}", c.node, human::bytes(c.bytes)));
    let consumers: Vec<_> = consumers.collect();
    format!(
        "{} from {}, attempt {}: {} of {}",
        transfer.name,
        moving.producer,
        transfer.attempt,
        consumers.join(", "),
        human::bytes(transfer.size)
    )
}
