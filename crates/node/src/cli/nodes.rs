//! `consign nodes`.

use super::command::Output;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::table::{Listing, numbers, words};
use crate::driver::snapshot::Member;

pub(super) async fn run(session: &mut Session, output: Output) -> Result<(), Failure> {
    let members: Vec<Member> = session.client.all("/nodes").await?;
    if output.json {
        for member in &members {
            session.print_json(member)?;
        }
        return Ok(());
    }
    Ok(session.print(&table(&members, session.paint))?)
}

fn table(members: &[Member], paint: Paint) -> String {
    let header = [
        words("NODE"),
        words("ADDRESS"),
        words("ZONE"),
        numbers("WEIGHT"),
        words("FEEDS"),
        words("STATE"),
        words("HEARD"),
        words("LINK"),
        numbers("OWED"),
    ];
    let rows = members.iter().map(|member| {
        vec![
            member.name.clone(),
            or_dash(&member.addr),
            or_dash(member.zone.as_deref().unwrap_or_default()),
            member.weight.to_string(),
            or_dash(&member.feeds.join(", ")),
            member.state.clone(),
            heard(member).to_owned(),
            link(member).to_owned(),
            human::count(member.owed_files),
        ]
    });
    let mut page = Listing::new(paint, &header).block(rows.collect());
    for member in members {
        if let Some(error) = &member.last_error {
            let text = human::printable(&format!("{}: {error}", member.name));
            let (what, hint) = crate::hint::split(&text);
            page += &format!("\n{}\n", human::paragraph("! ", what));
            if !hint.is_empty() {
                page += &format!("{}\n", paint.dim(human::paragraph("  ", hint)));
            }
        }
    }
    page
}

fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}

/// Whether gossip or etcd hears of it; a list cannot tell.
fn heard(member: &Member) -> &'static str {
    match member.heard {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

/// Which of the two opened a connection to the other: files go the way of the connection.
fn link(member: &Member) -> &'static str {
    match (member.connected, member.sends_here, member.incarnation) {
        (true, true, _) => "both ways",
        (true, false, _) => "connected",
        (false, true, _) => "sends here",
        (false, false, 0) => "-",
        (false, false, _) => "away",
    }
}
