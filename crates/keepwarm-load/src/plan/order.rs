//! The order of several requests: how often each is sent, and under which name it is counted. Owns
//! the order; the engine takes the next request.

use std::collections::HashMap;

use super::{PlanError, RequestSpec};
use crate::limits::{MAX_ORDER, MAX_ROWS};

/// The name of the last row, if there are more names than rows.
const OTHERS: &str = "(all others)";

/// Returns the names of the rows with the sums of their weights, and the row of each request. More
/// names than [`MAX_ROWS`] share the last row.
pub(super) fn rows(specs: &[RequestSpec]) -> (Vec<(String, u64)>, Vec<usize>) {
    let mut rows: Vec<(String, u64)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut row_of = Vec::with_capacity(specs.len());
    for spec in specs {
        let name = match spec.name.as_str() {
            "" => format!("{} {}", spec.method, spec.path),
            name => name.to_owned(),
        };
        let row = *known.entry(name.clone()).or_insert_with(|| {
            if rows.len() < MAX_ROWS {
                rows.push((name, 0));
            } else if rows.len() == MAX_ROWS {
                rows.push((OTHERS.to_owned(), 0));
            }
            rows.len() - 1
        });
        rows[row].1 += u64::from(spec.weight.max(1));
        row_of.push(row);
    }
    (rows, row_of)
}

/// Returns the requests in their order, each as often as its weight and evenly spread;
/// nothing if all weights are 1.
pub(super) fn order(specs: &[RequestSpec]) -> Result<Vec<u32>, PlanError> {
    let weights = || specs.iter().map(|spec| u64::from(spec.weight.max(1)));
    if weights().all(|weight| weight == 1) {
        return Ok(Vec::new());
    }
    let divisor = weights().fold(0, gcd);
    let total: u64 = weights().map(|weight| weight / divisor).sum();
    if total > MAX_ORDER {
        return Err(PlanError::new(
            "requests_file",
            total.to_string(),
            format!("the weights add up to more than {MAX_ORDER}"),
            "use smaller weights",
        ));
    }
    let mut order = Vec::new();
    for (index, weight) in (0_u32..).zip(weights()) {
        let weight = weight / divisor;
        // The middle of each of its parts of the order, in units that divide exactly.
        let places = (0..weight).map(|k| (u128::from(2 * k + 1) << 64) / u128::from(weight));
        order.extend(places.map(|place| (place, index)));
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, index)| index).collect())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(path: &str, name: &str, weight: u32) -> RequestSpec {
        RequestSpec {
            method: "GET".to_owned(),
            path: path.to_owned(),
            name: name.to_owned(),
            weight,
            ..RequestSpec::default()
        }
    }

    #[test]
    fn weights_are_spread_evenly() {
        let specs = [spec("/a", "", 3), spec("/b", "", 1)];
        assert_eq!(order(&specs).unwrap(), [0, 0, 1, 0]);
        assert_eq!(order(&[spec("/a", "", 1), spec("/b", "", 0)]).unwrap(), []);
        let specs = [spec("/a", "", 70), spec("/b", "", 20), spec("/c", "", 10)];
        let order = order(&specs).unwrap();
        assert_eq!(order.len(), 10);
        let of = |index| order.iter().filter(|one| **one == index).count();
        assert_eq!((of(0), of(1), of(2)), (7, 2, 1));
    }

    #[test]
    fn huge_weights_are_refused() {
        let error = order(&[spec("/a", "", u32::MAX), spec("/b", "", 2)]).unwrap_err();
        assert_eq!(error.setting(), "requests_file");
    }

    #[test]
    fn names_share_rows() {
        let specs = [spec("/a", "", 1), spec("/b", "x", 2), spec("/c", "x", 3)];
        let expected = vec![("GET /a".to_owned(), 1), ("x".to_owned(), 5)];
        assert_eq!(rows(&specs), (expected, vec![0, 1, 1]));
        let many: Vec<_> = (0..MAX_ROWS + 5).map(|n| spec(&format!("/{n}"), "", 1)).collect();
        let (rows, row_of) = rows(&many);
        assert_eq!(rows.len(), MAX_ROWS + 1);
        assert_eq!(rows[MAX_ROWS], (OTHERS.to_owned(), 5));
        assert_eq!(row_of[MAX_ROWS + 4], MAX_ROWS);
    }
}
