//! `consign demo`: real agents as real processes on this machine, real files, and a proof.
//!
//! What it prints is found, not assumed: consumers are those that the producers name, every inbox
//! is read and hashed whole, and whatever is missing, extra, doubled or changed makes it fail.
//! Nothing of the user's is changed; agents and files are gone afterwards, unless `--keep` or a
//! broken promise asks for them.

mod args;
mod chaos;
mod cluster;
mod compare;
mod hand;
mod inbox;
mod node;
mod picture;
mod report;
mod resume;
mod rng;
mod source;
mod verify;
mod watch;
mod workdir;

use std::cell::Cell;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use args::DemoArgs;
use chaos::{Chaos, Kill};
use cluster::{Cluster, Size};
use compare::{Broken, Fault};
use hand::Hand;
use picture::Picture;
use report::Report;
use rng::Rng;
use source::{Maker, Source};
use verify::Findings;
use watch::{Ended, Eyes};
use workdir::Workdir;

use crate::cli::exit::{Exit, Failure};
use crate::cli::human;
use crate::cli::paint::Paint;

/// Bytes that chaos may add, to keep data flowing.
const MORE_BYTES: u64 = 512 << 20;

/// Runs the demonstration; `Ok` only if every promise held.
///
/// # Errors
/// What could not be tried. A broken promise has been told already, and says nothing more.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    args.check().map_err(Failure::usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::failed(format!(
            "cannot begin: {error}; hint: are there too many processes or open files?"
        ))
    })?;
    match runtime.block_on(demonstrate(args))? {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Failed)),
    }
}

async fn demonstrate(args: &DemoArgs) -> anyhow::Result<bool> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(std::io::Error::from)? >> 32,
    };
    let mut rng = Rng::new(seed);
    let plan = Plan::new(args, &mut rng)?;
    let mut workdir = Workdir::make(args.keep.as_deref(), plan.room(args))?;
    let run = Run {
        args,
        seed,
        workdir: &workdir,
    };
    let ended = tokio::select! {
        ended = run.all(plan, rng) => ended,
        signal = interrupted() => match signal {
            Ok(()) => Err(anyhow::anyhow!("interrupted; hint: the agents were killed, and nothing was proved")),
            Err(error) => Err(error.into()),
        },
    };
    match ended {
        Ok(mut report) => {
            if !report.ok {
                workdir.keep();
            }
            let kept = workdir.is_kept().then(|| workdir.path().display());
            report.directory = kept.map(|path| path.to_string());
            tell(&report, args)?;
            Ok(report.ok)
        }
        Err(error) => {
            workdir.keep();
            let path = workdir.path().display();
            Err(error.context(format!("the demonstration broke off, see {path}")))
        }
    }
}

/// Returns when somebody wants this to end.
async fn interrupted() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// What is to be sent.
enum Plan {
    Made(Vec<source::Shape>),
    Given(Vec<crate::cli::walk::FoundFile>),
}

impl Plan {
    fn new(args: &DemoArgs, rng: &mut Rng) -> anyhow::Result<Self> {
        if args.paths.is_empty() {
            return Ok(Self::Made(source::shapes(args.size << 20, args.chaos, rng)));
        }
        let (files, skipped) = source::find(&args.paths)?;
        for why in skipped {
            eprintln!("{}", human::printable(&why));
        }
        Ok(Self::Given(files))
    }

    fn files(&self) -> u64 {
        let files = match self {
            Self::Made(shapes) => shapes.len(),
            Self::Given(files) => files.len(),
        };
        files as u64
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Made(shapes) => source::bytes_of(shapes),
            Self::Given(files) => files.iter().map(|file| file.size).sum(),
        }
    }

    /// Bytes that all of it takes: the sources, the copies, what chaos adds, and the agents.
    fn room(&self, args: &DemoArgs) -> u64 {
        let more = if args.chaos { MORE_BYTES } else { 0 };
        let copies = 1 + u64::from(args.replicas);
        let nodes = u64::from(args.producers + args.consumers);
        let files = (self.bytes() + more).saturating_mul(copies);
        files.saturating_add(nodes * workdir::NODE_BYTES)
    }

    /// Makes or reads every file.
    fn prepare(self, maker: &mut Maker) -> anyhow::Result<Vec<Source>> {
        match self {
            Self::Made(shapes) => shapes.iter().map(|shape| maker.make(shape)).collect(),
            Self::Given(files) => files.into_iter().map(|file| maker.prepare(file)).collect(),
        }
    }
}

/// One demonstration.
struct Run<'a> {
    args: &'a DemoArgs,
    seed: u64,
    workdir: &'a Workdir,
}

impl Run<'_> {
    async fn all(&self, plan: Plan, rng: Rng) -> anyhow::Result<Report> {
        let args = self.args;
        eprintln!(
            "{} {}, {}, in {}{}",
            if args.paths.is_empty() {
                "making"
            } else {
                "reading"
            },
            human::files(plan.files()),
            human::bytes(plan.bytes()),
            self.workdir.path().display(),
            match args.chaos {
                true => format!(
                    "; chaos lasts at least {} s, and up to {} more are made to keep files flowing",
                    args.seconds,
                    human::bytes(MORE_BYTES)
                ),
                false => String::new(),
            }
        );
        let files_dir = self.workdir.path().join("files");
        let mut maker = Maker::new(files_dir, usize::from(args.producers), self.seed);
        let (mut sources, mut maker) =
            tokio::task::spawn_blocking(move || Ok((plan.prepare(&mut maker)?, maker)))
                .await?
                .map_err(|error: anyhow::Error| error)?;
        eprintln!(
            "starting {} producers and {} consumers; each file goes to {} of them",
            args.producers, args.consumers, args.replicas
        );
        let cluster = Cluster::start(self.workdir.path(), size(args)).await?;
        let eyes = Eyes::new(args.replicas);
        let picture = Picture::new();
        let flown = self
            .flow(&cluster, &eyes, &picture, &mut sources, &mut maker, rng)
            .await;
        picture.end();
        let (kills, ended) = flown?;
        let took = eyes.elapsed();
        if ended == Ended::Stuck {
            eprintln!("nothing changes any more; looking at what there is");
        }
        eprintln!("comparing every inbox with every source");
        verify::settle(&cluster).await;
        let mut findings = verify::verify(&cluster, &sources, args.replicas).await?;
        findings.broken.extend(stop(&cluster).await);
        Ok(self.report(&sources, kills, findings, took))
    }

    /// Everything from the first file to the last answer, chaos included.
    async fn flow(
        &self,
        cluster: &Cluster,
        eyes: &Eyes,
        picture: &Picture,
        sources: &mut Vec<Source>,
        maker: &mut Maker,
        mut rng: Rng,
    ) -> anyhow::Result<(Vec<Kill>, Ended)> {
        let spread = self
            .args
            .chaos
            .then(|| Duration::from_secs(self.args.seconds));
        let (is_over, is_calm) = (Cell::new(false), Cell::new(spread.is_none()));
        let chaos = Chaos::new(cluster, eyes, picture, Rng::new(rng.next()));
        let kill = async {
            let kills = match spread {
                Some(least) => chaos.run(least).await?,
                None => Vec::new(),
            };
            is_calm.set(true);
            Ok(kills)
        };
        let hand = Hand { cluster, eyes };
        let give = async {
            hand.over(sources, spread).await?;
            let more = hand.keep_flowing(maker, &mut rng, &is_calm).await?;
            is_over.set(true);
            Ok(more)
        };
        let watch = watch::watch(cluster, eyes, picture, &is_over);
        let (kills, more, ended) = tokio::try_join!(kill, give, watch)?;
        sources.extend(more);
        Ok((kills, ended))
    }

    fn report(
        &self,
        sources: &[Source],
        kills: Vec<Kill>,
        findings: Findings,
        took: Duration,
    ) -> Report {
        Report {
            ok: findings.broken.is_empty(),
            seed: self.seed,
            producers: self.args.producers,
            consumers: self.args.consumers,
            replicas: self.args.replicas,
            files: sources.len() as u64,
            bytes: sources.iter().map(|source| source.print.size).sum(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            kills,
            resumed: findings.resumed,
            inboxes: findings.rows,
            broken: findings.broken,
            directory: None,
        }
    }
}

fn size(args: &DemoArgs) -> Size {
    Size {
        producers: args.producers,
        consumers: args.consumers,
        replicas: args.replicas,
    }
}

/// Stops the agents as `systemctl stop` does; one that cannot even do that has broken something.
async fn stop(cluster: &Cluster) -> Vec<Broken> {
    let bad = cluster.stop().await.into_iter();
    let broken = bad.map(|(place, why)| Broken {
        place,
        file: "agent".to_owned(),
        what: Fault::Agent { why },
    });
    broken.collect()
}

fn tell(report: &Report, args: &DemoArgs) -> anyhow::Result<()> {
    eprint!("{}", report.story());
    if args.json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        let paint = Paint::for_stdout();
        println!("\n{}\n{}", report.table(paint), report.verdict());
    }
    eprintln!();
    if let Some(directory) = &report.directory {
        eprintln!("kept: {directory}, with each node's consign.toml, log.txt, data and inbox");
    }
    let chaos = match args.chaos {
        true => "",
        false => " and for --chaos",
    };
    eprintln!(
        "next: `consign demo --help` for your own files{chaos}, `consign agent --help` to run a \
         node, and \"Two machines\" in the README"
    );
    Ok(())
}
