use super::*;

const GAPS: Gaps = Gaps { across: 80, down: 20 };

fn boxes(count: usize) -> Vec<Size> {
    (0..count).map(|number| Size { width: 100, height: 40 + 10 * (number as i64 % 5) }).collect()
}

/// Links that look random and are not.
fn web(count: usize, links: usize) -> BTreeSet<(usize, usize)> {
    let mut state = 7_usize;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % count
    };
    (0..links).map(|_| (next(), next())).collect()
}

fn overlap(placed: &Placed, sizes: &[Size]) -> Option<(usize, usize)> {
    let spans: Vec<_> = placed.corners.iter().zip(sizes).collect();
    for (one, ((left, top), size)) in spans.iter().enumerate() {
        for (other, ((left2, top2), size2)) in spans.iter().enumerate().skip(one + 1) {
            let is_beside = left + size.width <= *left2 || left2 + size2.width <= *left;
            let is_below = top + size.height <= *top2 || top2 + size2.height <= *top;
            if !is_beside && !is_below {
                return Some((one, other));
            }
        }
    }
    None
}

#[test]
fn boxes_never_overlap_and_two_drawings_are_the_same() {
    for (count, links) in [(1, 0), (2, 1), (9, 0), (12, 14), (40, 90), (200, 800)] {
        let (sizes, links) = (boxes(count), web(count, links));
        let placed = place(&sizes, &links, GAPS);
        assert_eq!(overlap(&placed, &sizes), None, "{count} boxes");
        assert_eq!(placed, place(&sizes, &links, GAPS));
        assert!(placed.corners.iter().all(|(left, top)| *left >= 0 && *top >= 0));
        let edge = |at: fn(&(i64, i64), &Size) -> i64| {
            placed.corners.iter().zip(&sizes).map(|(corner, size)| at(corner, size)).max().unwrap_or(0)
        };
        assert!(edge(|corner, size| corner.0 + size.width) <= placed.width);
        assert!(edge(|corner, size| corner.1 + size.height) <= placed.height);
    }
}

#[test]
fn a_call_runs_to_the_right_but_where_it_closes_a_circle() {
    let links = BTreeSet::from([(0, 1), (1, 2), (0, 2), (2, 3), (3, 1)]);
    let placed = place(&boxes(4), &links, GAPS);
    let column = |item: usize| placed.columns[item].0;
    let backward: Vec<_> = links.iter().filter(|(from, to)| column(*from) >= column(*to)).collect();
    assert_eq!(backward.len(), 1, "{:?}", placed.columns);
}

#[test]
fn a_long_call_keeps_its_own_lane_past_the_boxes_between() {
    let sizes = boxes(4);
    let links = BTreeSet::from([(0, 1), (1, 2), (2, 3), (0, 3)]);
    let placed = place(&sizes, &links, GAPS);
    let bends = &placed.bends[&(0, 3)];
    assert_eq!(bends.len(), 4, "two points for each column it passes");
    for &(x, y) in bends {
        for ((left, top), size) in placed.corners.iter().zip(&sizes) {
            let is_inside = x > *left && x < left + size.width && y > *top && y < top + size.height;
            assert!(!is_inside, "{x},{y} lies in a box");
        }
    }
}

#[test]
fn boxes_stay_apart_and_as_near_to_their_wishes_as_can_be() {
    #[rustfmt::skip]
    let cases: [(&[i64], &[i64], &[i64]); 4] = [
        // wishes         heights         middles
        (&[100],          &[40],          &[100]),
        (&[0, 200],       &[40, 40],      &[0, 200]),
        (&[100, 100],     &[40, 40],      &[75, 125]),
        (&[300, 0],       &[20, 20],      &[135, 165]),
    ];
    for (wishes, heights, expected) in cases {
        assert_eq!(apart(wishes, heights, 10), expected, "{wishes:?}");
    }
}

#[test]
fn crossings_are_counted_once_each() {
    let mut sums = Sums::new(4);
    let above: Vec<u64> = [3, 1, 2, 0]
        .into_iter()
        .map(|at| {
            let above = sums.above(at);
            sums.add(at);
            above
        })
        .collect();
    assert_eq!(above, [0, 1, 1, 3]);
}

#[test]
fn a_chain_of_eight_is_a_chain() {
    let links = (0..7).map(|from| (from, from + 1)).collect();
    let placed = place(&boxes(8), &links, GAPS);
    assert_eq!(placed.columns, (0..8).map(|column| (column, 0)).collect::<Vec<_>>());
}

#[test]
fn a_web_without_beginning_or_end_is_no_line() {
    let links = (0..20).flat_map(|from| (0..20).map(move |to| (from, to))).collect();
    let sizes = vec![Size { width: 216, height: 80 }; 20];
    let placed = place(&sizes, &links, GAPS);
    assert!(placed.width < 4 * placed.height, "{} x {}", placed.width, placed.height);
    assert_eq!(overlap(&placed, &sizes), None);
}
