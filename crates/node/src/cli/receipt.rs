//! `consign receipt`: what consumers have signed for a file, and the check of that, which talks to
//! nobody.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use super::client::encoded;
use super::command::{ReceiptArgs, VerifyArgs};
use super::exit::{Exit, Failure};
use super::human::{self, printable};
use super::session::Session;
use crate::api::model;
use crate::identity::Authorities;
use crate::receipts::{DOCUMENT_BYTES_MAX, Document, Proven, check, digest};
use crate::timestamp::Timestamp;

/// Bytes of a local file that are hashed at once.
const READ_BYTES: usize = 256 << 10;

/// Prints the document of a transfer. What nobody has signed is said beside it.
pub(super) async fn export(session: &mut Session, args: ReceiptArgs) -> Result<(), Failure> {
    let id = args.id.unwrap_or_default();
    let path = format!("/transfers/{}", encoded(&id));
    let document: Document = session.client.get(&format!("{path}/receipts")).await?;
    match args.output.json {
        true => session.print_json(&document)?,
        false => {
            let text = serde_json::to_string_pretty(&document).map_err(io::Error::from)?;
            session.print(&(text + "\n"))?;
        }
    }
    // Only talk: the document is there, whether the catalogue has its transfer or not.
    let Ok(model::File::Produced(transfer)) = session.client.get(&path).await else {
        return Ok(());
    };
    for consumer in &transfer.consumers {
        match (consumer.state.as_str(), consumer.receipt.as_deref()) {
            ("saved", Some("unsigned")) => eprintln!(
                "{} has saved it and signed nothing: it had no keys then, or is of a version that signs nothing",
                consumer.node
            ),
            ("saved", _) => {}
            (state, _) => eprintln!("{} has not saved it yet: {state}", consumer.node),
        }
    }
    Ok(())
}

/// Checks a document, offline.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let authorities =
        Authorities::read(&args.ca).map_err(|bad| Failure::failed(bad.to_string()))?;
    let document = read(&args.document)?;
    let shown = args.document.display();
    let checked = check(&document, &authorities)
        .map_err(|bad| Failure::failed(format!("{shown} proves nothing: {bad}")))?;
    let mut said = String::new();
    for proven in &checked {
        said += &told(&document, proven);
    }
    let mut out = io::stdout().lock();
    out.write_all(said.as_bytes())?;
    out.flush()?;
    let bad = checked.iter().filter(|one| one.outcome.is_err()).count();
    if bad > 0 {
        return Err(Failure::failed(format!(
            "{bad} of {} receipts in {shown} prove nothing; hint: either the document was changed since it was exported, or {} is not the authority of that cluster: export it again, and take ca.pem from where `consign keys init` wrote it",
            checked.len(),
            args.ca.display()
        )));
    }
    match &args.file {
        Some(file) => compare(&document, file),
        None => Ok(()),
    }
}

/// Reads a document of at most so many bytes; `-` is stdin.
fn read(path: &Path) -> Result<Document, Failure> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        Failure::with(
            Exit::Failed,
            format!(
                "cannot read {shown}: {error}; hint: give it what `consign receipt ID` printed"
            ),
        )
    };
    let from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(unreadable)?),
    };
    let mut bytes = Vec::new();
    let mut from = from.take(DOCUMENT_BYTES_MAX + 1);
    from.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::failed(format!(
            "{shown} is longer than any document of receipts ({DOCUMENT_BYTES_MAX} bytes); hint: give it what `consign receipt ID` printed"
        )));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::failed(format!(
            "{shown} is no document of receipts: {error}; hint: give it what `consign receipt ID` printed, whole"
        ))
    })
}

/// What one receipt proves, in words.
fn told(document: &Document, proven: &Proven<'_>) -> String {
    let receipt = proven.receipt;
    let consumer = printable(&receipt.consumer);
    if let Err(why) = &proven.outcome {
        let said = format!("the receipt of {consumer}: {}", printable(&why.to_string()));
        return human::paragraph("BAD   ", &said) + "\n";
    }
    let said = format!(
        "{consumer} has signed that it saved {:?} of feed {}, {} bytes, as transfer {}, at {} by its clock, in its incarnation {}.",
        printable(&document.name),
        printable(&document.feed),
        document.size,
        printable(&document.transfer),
        Timestamp(receipt.at),
        receipt.incarnation
    );
    format!(
        "{}\n  blake3    {}\n  authority {}\n",
        human::paragraph("good  ", &said),
        document.digest,
        receipt.cluster
    )
}

/// Compares a local file with what is proven.
fn compare(document: &Document, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        Failure::failed(format!(
            "cannot read {shown}: {error}; hint: give --file the file that the receipts are of"
        ))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut hasher, mut length) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        hasher.update(&buffer[..read]);
    }
    if length != document.size {
        return Err(Failure::failed(format!(
            "{shown} has {length} bytes, and the receipts are of {}; hint: it is another file, or was changed",
            document.size
        )));
    }
    let wanted = digest(document).map_err(|bad| Failure::failed(bad.to_string()))?;
    let found = hasher.finalize();
    if *found.as_bytes() != wanted.0 {
        return Err(Failure::failed(format!(
            "{shown} has the BLAKE3 {found}, and the receipts are of {wanted}; hint: it is another file, or was changed"
        )));
    }
    println!("{shown} is that file: length and BLAKE3 are the same");
    Ok(())
}
