//! `consign explain`: where a key goes now, and why.

use super::client::encoded;
use super::command::ExplainArgs;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::table::{Listing, numbers, words};
use crate::driver::handle::Explanation;

pub(super) async fn run(session: &mut Session, args: ExplainArgs) -> Result<(), Failure> {
    let path = format!(
        "/explain?feed={}&key={}",
        encoded(&args.feed),
        encoded(&args.key)
    );
    let explained: Explanation = session.client.get(&path).await?;
    if args.output.json {
        return Ok(session.print_json(&explained)?);
    }
    Ok(session.print(&page(&explained, session.paint))?)
}

fn page(explained: &Explanation, paint: Paint) -> String {
    let key = human::printable(&explained.key);
    let chain = match explained.chain.is_empty() {
        true => "nobody now".to_owned(),
        false => explained.chain.join(" → "),
    };
    let mut out = format!("{} of {}: {chain}\n", paint.bold(key), explained.feed);
    if explained.short {
        let text = format!(
            "Too few can take it for replicas = {}: the rest is owed to whoever comes. Add the feed \
             to a node's [[consume]] and to membership.nodes.",
            explained.replicas
        );
        out += &format!("{}\n", human::paragraph("", &text));
    }
    if explained.candidates.is_empty() {
        return out;
    }
    let header = [
        words("NODE"),
        words("ZONE"),
        numbers("WEIGHT"),
        numbers("SCORE"),
        words("GETS IT"),
        words("WHY"),
    ];
    let rows = explained.candidates.iter().map(|candidate| {
        vec![
            candidate.node.clone(),
            candidate.zone.clone().unwrap_or_else(|| "-".to_owned()),
            candidate.weight.to_string(),
            format!("{:.3}", candidate.score),
            if candidate.chosen { "yes" } else { "no" }.to_owned(),
            candidate.reason.clone(),
        ]
    });
    out.push('\n');
    out + &Listing::new(paint, &header).block(rows.collect())
}
