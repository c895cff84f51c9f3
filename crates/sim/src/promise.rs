//! What is checked, each with the number that issue and documents call it by: S for safety, which
//! holds at any time, L for liveness, which holds once all is healed.

macro_rules! promises {
    ($($(#[$doc:meta])* $name:ident $id:literal $words:literal,)*) => {
        /// A promise that a run is held against.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Promise {
            $($(#[$doc])* $name,)*
        }

        impl Promise {
            /// Its number.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// What it says.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

promises! {
    /// After `submitted` the file is recoverable in every later crash state.
    NothingLost "S1" "nothing is lost",
    /// `submitted` is said only of what a committed record says.
    SubmittedIsSynced "S1" "nothing is acknowledged as submitted before it is synced",
    /// One handing over is one transfer.
    SubmittedOnce "S1" "a file is submitted once",
    /// A receipt is given only for what a committed record says.
    SavedIsSynced "S2" "nothing is said to be saved before it is synced",
    /// What a consumer attests is what its producer sent.
    RightReceipt "S2" "a receipt is of the file that was sent",
    /// What a receipt was given for is published.
    SavedIsShown "S2" "what is saved becomes visible",
    /// Nothing is published without the record that makes recovery publish it.
    ShownIsSaved "S2" "nothing is shown before it is saved",
    /// What is published survives power cuts.
    ShownStays "S2" "what is visible stays so",
    /// Absent to visible at most once, but for a rename that a power cut has undone.
    ShownOnce "S3" "nothing appears twice",
    /// A visible file equals a submitted one.
    Whole "S4" "nothing is half there",
    /// Nothing is in an inbox but what was placed there.
    NothingForeign "S4" "nothing foreign is published",
    /// What is about to be published has the digest of what was submitted.
    RightDigest "S4" "the digest is that of the file",
    /// Every later attempt can be held against the digest.
    DigestFirst "S4" "the digest is synced before the first commit",
    /// In the absence of failures nobody commits alone.
    TwoPhases "S4" "nobody publishes before all have received",
    /// A source is let go of only on durable receipts of all placed, distinct consumers.
    DoneIsSaved "S5" "a file is done only when every consumer has saved it",
    /// What is not delivered goes back to where it came from.
    GivenBack "S5" "a cancelled file is given back",
    /// What an older incarnation sent changes nothing.
    Fenced "S6" "a message of an older life changes nothing",
    /// Equal views give equal placements on every node.
    SamePlacement "S7" "equal views give equal placements",
    /// A placement is decided in the log before anybody hears of it.
    Decided "S7" "nobody hears of a placement before it is synced",
    /// Recovery yields every record that was acknowledged, in its order.
    RecordsKept "S8" "recovery yields every acknowledged record",
    /// Damage is reported, or costs nothing that was acknowledged.
    DamageNamed "S8" "damage of the log is never silent",
    /// A node comes up whatever the crash has left.
    ComesUp "S8" "a node always comes up",
    /// Recovery that is cut short, and begun again, yields the same.
    SameAgain "S10" "recovery can be cut short and repeated",
    /// What the state machines rely on can be read.
    ReadBack "S8" "what is live can be read back from the log",
    /// A sync that failed is final.
    SyncOnce "S9" "a failed sync is not tried again",
    /// What was begun can always be logged to its end.
    LogTakes "S11" "the log takes what the machines write",
    /// A restart finds space on a full disk.
    ComesUpFull "S11" "a node comes up on a full disk",
    /// What is over takes nobody's room.
    CreditReturns "S12" "what is over does not count as under way",
    /// Nothing is remembered of what is over.
    LogForgets "S12" "the log forgets what is over",
    /// Everything accepted is delivered in bounded time.
    Delivered "L1" "everything is delivered in the end",
    /// Who is dead, slow, silent or full delays nobody else's files.
    Isolated "L2" "a sick consumer delays only its own",
    /// No synced byte is sent again, and without failures none at all.
    NothingAgain "L3" "no byte is sent again without need",
    /// What was owed to a consumer that is gone for good is placed anew.
    PlacedAnew "L4" "what is owed to a lost consumer goes to another",
    /// A node says that it has drained when nobody owes it anything any more.
    Drained "L4" "a node that has drained is owed nothing",
    /// Nobody has to ask for it.
    GoesOn "L6" "delivery goes on by itself when space returns",
    /// No orphan is left in staging, spool or log.
    NoOrphans "L5" "no orphans are left",
    /// The simulator's own: a seed is a run.
    Deterministic "D" "the same seed gives the same run",
    /// The code's own assertions.
    NoPanic "A" "nothing panics",
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.id(), self.words())
    }
}
