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
        words("LINK"),
        numbers("OWED"),
        words("LAST ERROR"),
    ];
    let rows = members.iter().map(|member| {
        vec![
            member.name.clone(),
            member.addr.clone(),
            member.zone.clone().unwrap_or_else(|| "-".to_owned()),
            member.weight.to_string(),
            match member.feeds.is_empty() {
                true => "-".to_owned(),
                false => member.feeds.join(", "),
            },
            member.state.clone(),
            link(member).to_owned(),
            human::count(member.owed_files),
            member.last_error.clone().unwrap_or_default(),
        ]
    });
    Listing::new(paint, &header).block(rows.collect())
}

fn link(member: &Member) -> &'static str {
    match (member.connected, member.incarnation) {
        (true, _) => "connected",
        (false, 0) => "-",
        (false, _) => "away",
    }
}
