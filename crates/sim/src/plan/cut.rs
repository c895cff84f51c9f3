//! Making a plan smaller, to tell a failure in fewer words.

use std::fmt;
use std::str::FromStr;

use super::{Fault, Plan};

/// Something that is left out of a plan. Everything else stays as it was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A kind of fault.
    Fault(Fault),
    /// A file, by number.
    File(usize),
    /// A node's slowness.
    Slowness(usize),
    /// Everything that comes after this ms: all is healed then.
    After(u64),
}

impl Cut {
    /// Leaves it out.
    pub fn apply(self, plan: &mut Plan) {
        match self {
            Self::Fault(fault) => plan.faults.remove(fault),
            Self::File(file) => {
                if let Some(file) = plan.files.get_mut(file) {
                    file.left_out = true;
                }
            }
            Self::Slowness(node) => {
                if let Some(node) = plan.nodes.get_mut(node) {
                    node.slowness = 1;
                }
            }
            Self::After(at_ms) => plan.heal_at_ms = plan.heal_at_ms.min(at_ms),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => f.write_str(fault.name()),
            Self::File(file) => write!(f, "file={file}"),
            Self::Slowness(node) => write!(f, "slowness={node}"),
            Self::After(at_ms) => write!(f, "after={at_ms}"),
        }
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("{text:?} is no number; hint: write file=3 or after=1500"))
        };
        match text.split_once('=') {
            Some(("file", file)) => Ok(Self::File(number(file)? as usize)),
            Some(("slowness", node)) => Ok(Self::Slowness(number(node)? as usize)),
            Some(("after", at_ms)) => Ok(Self::After(number(at_ms)?)),
            Some(_) | None => {
                let fault = Fault::ALL.iter().find(|fault| fault.name() == text);
                let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
                fault.copied().map(Self::Fault).ok_or_else(|| {
                    format!("{text:?} cannot be left out; hint: {}", names.join(", "))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_read_as_it_is_printed() {
        let cuts = [
            Cut::Fault(Fault::PowerCut),
            Cut::File(3),
            Cut::Slowness(1),
            Cut::After(700),
        ];
        for cut in cuts {
            assert_eq!(cut.to_string().parse(), Ok(cut));
        }
        assert!("rain".parse::<Cut>().is_err());
    }
}
