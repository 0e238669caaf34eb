//! Where boxes stand: in columns along the direction of the links, with few crossings.
//!
//! The steps are those of layered drawing (Sugiyama, Tagawa and Toda, 1981): turn back the links that close circles,
//! give each box a column, order each column by the middle of its neighbours, then move boxes to where their neighbours
//! are as far as the order allows. Whole pixels and fixed numbers of rounds, so that the same boxes stand in the same
//! places on every machine, and a large picture costs links times rounds and no more.

use std::collections::{BTreeMap, BTreeSet};

/// A box to be placed, in pixels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size {
    pub(crate) width: i64,
    pub(crate) height: i64,
}

/// Gaps between boxes, in pixels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Gaps {
    /// Between two columns: where the links run.
    pub(crate) across: i64,
    /// Between two boxes of a column.
    pub(crate) down: i64,
}

/// Where everything stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Placed {
    /// Left upper corner of each box.
    pub(crate) corners: Vec<(i64, i64)>,
    /// Column of each box, and its place in it.
    pub(crate) columns: Vec<(usize, usize)>,
    /// Points a link runs through between its two ends, for those that pass other columns. One end is [`OUTSIDE`]
    /// where it comes in from the left or leaves to the right.
    pub(crate) bends: BTreeMap<(usize, usize), Vec<(i64, i64)>>,
    /// Extent of everything.
    pub(crate) width: i64,
    /// The same, downwards.
    pub(crate) height: i64,
}

/// Who calls whom, by number.
pub(crate) type Links = BTreeSet<(usize, usize)>;

/// Stands for whatever is beyond the left and the right edge.
pub(crate) const OUTSIDE: usize = usize::MAX;
/// Columns that are never too many.
const COLUMNS_FINE: i64 = 8;
/// Rounds of ordering, and of moving.
const ROUNDS: usize = 8;
/// Most places that links keep free in columns they pass; with more, links run straight.
const BENDS_MAX: usize = 1_500;
/// Height of the place a passing link keeps free.
const LANE: i64 = 14;

/// Places boxes from left to right along their links. Links from and to [`OUTSIDE`] are kept free of boxes and move
/// none to another column.
pub(crate) fn place(sizes: &[Size], links: &Links, gaps: Gaps) -> Placed {
    if sizes.is_empty() {
        return Placed::default();
    }
    let is_box = |item: usize| item < sizes.len();
    let is_wanted = |from: usize, to: usize| {
        from != to && (is_box(from) || from == OUTSIDE) && (is_box(to) || to == OUTSIDE)
    };
    let (links, crossing): (Links, Links) = links
        .iter()
        .filter(|(from, to)| is_wanted(*from, *to))
        .partition(|(from, to)| is_box(*from) && is_box(*to));
    let order = without_circles(sizes.len(), &links);
    let forward: Links = links
        .iter()
        .map(|&(from, to)| if rank(&order, from) < rank(&order, to) { (from, to) } else { (to, from) })
        .collect();
    let mut column = columns(sizes.len(), &forward, &order);
    gather(&mut column, sizes, &order, gaps);
    let mut drawing = Drawing::new(sizes, &forward, &crossing, &column);
    drawing.order();
    drawing.finish(sizes, &links, gaps)
}

fn rank(order: &[usize], item: usize) -> usize {
    order.get(item).copied().unwrap_or_default()
}

/// Returns each box's place in a sequence along which most links point forward (Eades, Lin and Smyth, 1993): what
/// nobody calls any more comes last, what calls nobody yet first, else who calls most and is called least.
fn without_circles(count: usize, links: &Links) -> Vec<usize> {
    let mut out: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let mut into = out.clone();
    for &(from, to) in links {
        out.get_mut(from).into_iter().for_each(|ends| {
            ends.insert(to);
        });
        into.get_mut(to).into_iter().for_each(|ends| {
            ends.insert(from);
        });
    }
    let key = |item: usize, out: &[BTreeSet<usize>], into: &[BTreeSet<usize>]| {
        let degree = |of: &[BTreeSet<usize>]| of.get(item).map_or(0, BTreeSet::len) as i64;
        let (calls, called) = (degree(out), degree(into));
        // Sinks go to the end at once, sources to the front; of the rest, the one with most calls to spare.
        let class = if calls == 0 { 0 } else { 1 + i64::from(called != 0) };
        (class, called - calls, item)
    };
    let mut waiting: BTreeSet<(i64, i64, usize)> = (0..count).map(|item| key(item, &out, &into)).collect();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    while let Some(first) = waiting.pop_first() {
        let item = first.2;
        if first.0 == 0 {
            back.push(item)
        } else {
            front.push(item)
        }
        let touched: BTreeSet<usize> =
            out.get(item).into_iter().chain(into.get(item)).flatten().copied().collect();
        for &other in &touched {
            waiting.remove(&key(other, &out, &into));
            out.get_mut(other).into_iter().for_each(|ends| {
                ends.remove(&item);
            });
            into.get_mut(other).into_iter().for_each(|ends| {
                ends.remove(&item);
            });
            waiting.insert(key(other, &out, &into));
        }
    }
    front.extend(back.into_iter().rev());
    let mut ranks = vec![0; count];
    for (rank, item) in front.into_iter().enumerate() {
        ranks.get_mut(item).into_iter().for_each(|own| *own = rank);
    }
    ranks
}

/// Gives each box a column: one further than the furthest that calls it. A column that would be too tall becomes
/// several; boxes without a link stand in the last columns.
fn columns(count: usize, forward: &Links, order: &[usize]) -> Vec<usize> {
    let mut sequence: Vec<usize> = (0..count).collect();
    sequence.sort_by_key(|item| rank(order, *item));
    let mut called_by: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut calls = called_by.clone();
    for &(from, to) in forward {
        called_by.get_mut(to).into_iter().for_each(|ends| ends.push(from));
        calls.get_mut(from).into_iter().for_each(|ends| ends.push(to));
    }
    let mut column = vec![0_usize; count];
    for &item in &sequence {
        let furthest = called_by.get(item).into_iter().flatten().map(|from| rank(&column, *from) + 1).max();
        column.get_mut(item).into_iter().for_each(|own| *own = furthest.unwrap_or(0));
    }
    // Who is called by nobody stands just before the first it calls.
    for &item in sequence.iter().rev() {
        let nearest = calls.get(item).into_iter().flatten().map(|to| rank(&column, *to)).min();
        if let Some(nearest) = nearest
            && called_by.get(item).is_some_and(Vec::is_empty)
        {
            column.get_mut(item).into_iter().for_each(|own| *own = nearest.saturating_sub(1));
        }
    }
    let is_alone = |item: usize| {
        calls.get(item).is_none_or(Vec::is_empty) && called_by.get(item).is_none_or(Vec::is_empty)
    };
    let linked: Vec<usize> = sequence.iter().copied().filter(|item| !is_alone(*item)).collect();
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &item in &linked {
        members.entry(rank(&column, item)).or_default().push(item);
    }
    let tallest = tallest(count);
    let mut next = 0;
    for members in members.values() {
        for part in members.chunks(tallest) {
            part.iter().for_each(|item| column.get_mut(*item).into_iter().for_each(|own| *own = next));
            next += 1;
        }
    }
    let alone: Vec<usize> = (0..count).filter(|item| is_alone(*item)).collect();
    for part in alone.chunks(tallest) {
        part.iter().for_each(|item| column.get_mut(*item).into_iter().for_each(|own| *own = next));
        next += 1;
    }
    column
}

/// Makes fewer columns where nearly every box would have its own, as in a web of calls without beginning or end: such a
/// picture is a line nobody can read. Calls within a column then run up or down.
fn gather(column: &mut [usize], sizes: &[Size], order: &[usize], gaps: Gaps) {
    let count = column.len() as i64;
    let found = column.iter().max().map_or(0, |last| last + 1) as i64;
    let mean = |of: fn(&Size) -> i64| sizes.iter().map(of).sum::<i64>() / count.max(1);
    let (wide, tall) = (mean(|size| size.width) + gaps.across, mean(|size| size.height) + gaps.down);
    // As many columns as make it twice as wide as tall, and as many again for the calls' sake.
    let wanted = isqrt(2 * count * tall / wide.max(1)).max(2);
    if found <= (2 * wanted).max(COLUMNS_FINE) {
        return;
    }
    let kept = (wanted * 3 / 2).max(1);
    let mut sequence: Vec<usize> = (0..column.len()).collect();
    sequence.sort_by_key(|item| (rank(column, *item), rank(order, *item)));
    for (place, item) in sequence.into_iter().enumerate() {
        let new = place as i64 * kept / count.max(1);
        column.get_mut(item).into_iter().for_each(|own| *own = usize::try_from(new).unwrap_or(0));
    }
}

/// Returns the largest number whose square is no larger.
fn isqrt(square: i64) -> i64 {
    let mut root = 0;
    while (root + 1) * (root + 1) <= square {
        root += 1;
    }
    root
}

/// Most boxes of a column, so that the picture is about twice as wide as tall.
fn tallest(count: usize) -> usize {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    usize::try_from(isqrt(count.saturating_sub(1)) + 1).unwrap_or(1).max(7)
}

/// A column's member: a box, or the place of a link that passes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Item {
    Box(usize),
    Lane { link: (usize, usize), column: usize },
}

struct Drawing {
    columns: Vec<Vec<Item>>,
    before: BTreeMap<Item, Vec<Item>>,
    after: BTreeMap<Item, Vec<Item>>,
    has_lanes: bool,
}

impl Drawing {
    fn new(sizes: &[Size], forward: &Links, crossing: &Links, column: &[usize]) -> Self {
        let count = column.iter().max().map_or(0, |last| last + 1);
        let mut columns = vec![Vec::new(); count];
        for item in 0..sizes.len() {
            columns
                .get_mut(rank(column, item))
                .into_iter()
                .for_each(|own: &mut Vec<Item>| own.push(Item::Box(item)));
        }
        // Columns a link passes.
        let between = |&(from, to): &(usize, usize)| {
            let first = if from == OUTSIDE { 0 } else { rank(column, from) + 1 };
            first..if to == OUTSIDE { count } else { rank(column, to) }
        };
        let passed: usize = forward.iter().chain(crossing).map(|link| between(link).len()).sum();
        let has_lanes = passed <= BENDS_MAX;
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        let is_across = |(from, to): &(usize, usize)| {
            *from == OUTSIDE || *to == OUTSIDE || rank(column, *from) < rank(column, *to)
        };
        for &link in forward.iter().chain(crossing).filter(|link| is_across(link)) {
            let mut last = (link.0 != OUTSIDE).then_some(Item::Box(link.0));
            for column in between(&link).filter(|_| has_lanes) {
                let lane = Item::Lane { link, column };
                columns.get_mut(column).into_iter().for_each(|own: &mut Vec<Item>| own.push(lane));
                if let Some(last) = last {
                    join(&mut before, &mut after, last, lane);
                }
                last = Some(lane);
            }
            if let Some(last) = last.filter(|_| link.1 != OUTSIDE) {
                join(&mut before, &mut after, last, Item::Box(link.1));
            }
        }
        Self { columns, before, after, has_lanes }
    }

    /// Orders each column by the middle of its neighbours, to and fro; the order with fewest crossings stays.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.columns.clone());
        let mut places = self.places();
        for round in 0..2 * ROUNDS {
            let is_forward = round % 2 == 0;
            let last = self.columns.len().saturating_sub(1);
            for step in 0..=last {
                let column = if is_forward { step } else { last - step };
                let neighbours = if is_forward { &self.before } else { &self.after };
                let Some(own) = self.columns.get_mut(column) else { continue };
                let mut keyed: Vec<(i64, usize, Item)> = own
                    .iter()
                    .enumerate()
                    .map(|(place, item)| {
                        let ends = neighbours.get(item).map(Vec::as_slice).unwrap_or_default();
                        let sum: i64 = ends.iter().filter_map(|end| places.get(end)).sum();
                        let middle = if ends.is_empty() {
                            1_000 * place as i64
                        } else {
                            1_000 * sum / ends.len() as i64
                        };
                        (middle, place, *item)
                    })
                    .collect();
                keyed.sort_unstable();
                *own = keyed.into_iter().map(|(_, _, item)| item).collect();
                places.extend(own.iter().copied().zip(0_i64..));
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.columns.clone());
            }
        }
        self.columns = best.1;
    }

    fn places(&self) -> BTreeMap<Item, i64> {
        let placed = self.columns.iter().flat_map(|column| column.iter().zip(0_i64..));
        placed.map(|(item, place)| (*item, place)).collect()
    }

    /// Counts pairs of links between neighbouring columns that cross.
    fn crossings(&self) -> u64 {
        let places = self.places();
        let mut crossings = 0;
        for column in &self.columns {
            let mut ends: Vec<(i64, i64)> = Vec::new();
            for item in column {
                let from = places.get(item).copied().unwrap_or_default();
                let targets = self.after.get(item).into_iter().flatten();
                ends.extend(targets.filter_map(|to| places.get(to)).map(|to| (from, *to)));
            }
            ends.sort_unstable();
            let mut seen = Sums::new(ends.iter().map(|(_, to)| *to as usize + 1).max().unwrap_or(0));
            for (_, to) in ends {
                crossings += seen.above(to as usize);
                seen.add(to as usize);
            }
        }
        crossings
    }

    fn finish(&self, sizes: &[Size], links: &Links, gaps: Gaps) -> Placed {
        let height = |item: &Item| match item {
            Item::Box(number) => sizes.get(*number).map_or(0, |size| size.height),
            Item::Lane { .. } => LANE,
        };
        let mut middle: BTreeMap<Item, i64> = BTreeMap::new();
        for column in &self.columns {
            let mut top = 0;
            for item in column {
                middle.insert(*item, top + height(item) / 2);
                top += height(item) + gaps.down;
            }
        }
        for round in 0..ROUNDS {
            for step in 0..self.columns.len() {
                let is_forward = round % 2 == 0;
                let number = if is_forward { step } else { self.columns.len() - 1 - step };
                let Some(column) = self.columns.get(number) else { continue };
                let wishes: Vec<i64> = column
                    .iter()
                    .map(|item| {
                        let sides = [self.before.get(item), self.after.get(item)];
                        let ends: Vec<i64> = sides
                            .into_iter()
                            .flatten()
                            .flatten()
                            .filter_map(|end| middle.get(end).copied())
                            .collect();
                        let own = middle.get(item).copied().unwrap_or_default();
                        if ends.is_empty() { own } else { ends.iter().sum::<i64>() / ends.len() as i64 }
                    })
                    .collect();
                let heights: Vec<i64> = column.iter().map(height).collect();
                for (item, at) in column.iter().zip(apart(&wishes, &heights, gaps.down)) {
                    middle.insert(*item, at);
                }
            }
        }
        self.settle(sizes, links, gaps, &middle)
    }

    fn settle(&self, sizes: &[Size], links: &Links, gaps: Gaps, middle: &BTreeMap<Item, i64>) -> Placed {
        let size = |number: usize| sizes.get(number).copied().unwrap_or(Size { width: 0, height: 0 });
        let top = middle
            .iter()
            .map(|(item, at)| match item {
                Item::Box(number) => at - size(*number).height / 2,
                Item::Lane { .. } => at - LANE / 2,
            })
            .min()
            .unwrap_or(0);
        let mut placed = Placed {
            corners: vec![(0, 0); sizes.len()],
            columns: vec![(0, 0); sizes.len()],
            ..Placed::default()
        };
        let mut left = 0;
        let mut lanes: BTreeMap<(usize, usize), Vec<(i64, i64)>> = BTreeMap::new();
        for (number, column) in self.columns.iter().enumerate() {
            let boxes = column.iter().filter_map(|item| match item {
                Item::Box(number) => Some(size(*number).width),
                Item::Lane { .. } => None,
            });
            let width = boxes.max().unwrap_or(0);
            for (place, item) in column.iter().enumerate() {
                let at = middle.get(item).copied().unwrap_or_default() - top;
                match item {
                    Item::Box(own) => {
                        let corner = (left, at - size(*own).height / 2);
                        placed.corners.get_mut(*own).into_iter().for_each(|it| *it = corner);
                        placed.columns.get_mut(*own).into_iter().for_each(|it| *it = (number, place));
                        placed.height = placed.height.max(corner.1 + size(*own).height);
                    }
                    Item::Lane { link, .. } => {
                        // Twice, so that the link runs level past the boxes of the column.
                        lanes.entry(*link).or_default().extend([(left, at), (left + width, at)]);
                        placed.height = placed.height.max(at + LANE / 2);
                    }
                }
            }
            placed.width = left + width;
            left += width + gaps.across;
        }
        if self.has_lanes {
            let crossing = lanes.keys().copied().filter(|(from, to)| *from == OUTSIDE || *to == OUTSIDE);
            placed.bends = crossing.filter_map(|link| Some((link, lanes.get(&link)?.clone()))).collect();
            for &link in links {
                if let Some(points) = lanes.get(&link) {
                    placed.bends.insert(link, points.clone());
                } else if let Some(points) = lanes.get(&(link.1, link.0)) {
                    placed.bends.insert(link, points.iter().rev().copied().collect());
                }
            }
        }
        placed
    }
}

fn join(before: &mut BTreeMap<Item, Vec<Item>>, after: &mut BTreeMap<Item, Vec<Item>>, from: Item, to: Item) {
    before.entry(to).or_default().push(from);
    after.entry(from).or_default().push(to);
}

/// Returns the middles nearest to the wishes, in squares, that keep the boxes in order and apart: pooled adjacent
/// violators (Barlow and Brunk, 1972).
fn apart(wishes: &[i64], heights: &[i64], gap: i64) -> Vec<i64> {
    let mut offsets = Vec::with_capacity(wishes.len());
    let mut offset = 0;
    for (number, height) in heights.iter().enumerate() {
        if let Some(previous) = number.checked_sub(1).and_then(|number| heights.get(number)) {
            offset += (previous + height) / 2 + gap;
        }
        offsets.push(offset);
    }
    // Sum and count of each pool.
    let mut pools: Vec<(i64, i64)> = Vec::new();
    for (wish, offset) in wishes.iter().zip(&offsets) {
        let mut pool = (wish - offset, 1);
        while let Some(last) = pools.last().copied()
            && last.0 * pool.1 >= pool.0 * last.1
        {
            pools.pop();
            pool = (pool.0 + last.0, pool.1 + last.1);
        }
        pools.push(pool);
    }
    let middles = pools.iter().flat_map(|(sum, count)| (0..*count).map(move |_| sum.div_euclid(*count)));
    middles.zip(&offsets).map(|(middle, offset)| middle + offset).collect()
}

/// Counts below a bound, added one by one (Fenwick, 1994).
struct Sums {
    counts: Vec<u64>,
    all: u64,
}

impl Sums {
    fn new(size: usize) -> Self {
        Self { counts: vec![0; size + 1], all: 0 }
    }

    fn add(&mut self, at: usize) {
        self.all += 1;
        let mut place = at + 1;
        while let Some(count) = self.counts.get_mut(place) {
            *count += 1;
            place += place & place.wrapping_neg();
        }
    }

    /// Returns how many were added above `at`.
    fn above(&self, at: usize) -> u64 {
        let (mut place, mut below) = (at + 1, 0);
        while place > 0 {
            below += self.counts.get(place).copied().unwrap_or_default();
            place -= place & place.wrapping_neg();
        }
        self.all - below
    }
}

#[cfg(test)]
mod tests;
