//! Boxes stacked in their columns, some of them closed.

use std::collections::BTreeMap;

use super::{CLOSED_WIDTH, Map, MapGroup, MapNode};

/// Between two columns of boxes.
const ACROSS: i64 = 62;
/// Between two boxes of a column.
const DOWN: i64 = 26;

/// Where a card stands on the picture, in pixels.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Card {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
}

/// Where every box stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stacked {
    cards: Vec<(Card, bool)>,
    /// The first of a box's row, by number, for those that stand behind it.
    behind: BTreeMap<usize, usize>,
    pub(crate) width: i64,
    pub(crate) height: i64,
}

impl Map {
    /// Stacks the boxes, columns from left to right, each around one middle line. Narrow boxes stand beside each other
    /// where the column is wide enough.
    pub(crate) fn stacked(&self, is_open: impl Fn(&MapGroup) -> bool) -> Stacked {
        let mut columns: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        let mut cards = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            let open = is_open(group) || group.services == 0;
            let (width, height) =
                if open { (group.width, group.height) } else { (CLOSED_WIDTH, group.closed_height) };
            cards.push((Card { x: 0, y: 0, width, height }, open));
            columns.entry(group.column).or_default().push((group.order, number));
        }
        let mut stacked = Stacked { cards, ..Stacked::default() };
        let mut tall = Vec::new();
        let mut left = 0;
        for members in columns.values_mut() {
            members.sort_unstable();
            let widest = members.iter().map(|(_, number)| stacked.card(*number).width).max().unwrap_or(0);
            tall.push(stacked.fill(members, left, widest));
            stacked.width = left + widest;
            left += widest + ACROSS;
        }
        stacked.height = tall.iter().copied().max().unwrap_or(0);
        for (members, tall) in columns.values().zip(tall) {
            for (_, number) in members {
                if let Some((card, _)) = stacked.cards.get_mut(*number) {
                    card.y += (stacked.height - tall) / 2;
                }
            }
        }
        stacked
    }
}

impl Stacked {
    fn card(&self, number: usize) -> Card {
        self.cards.get(number).map_or_else(Card::default, |(card, _)| *card)
    }

    /// Places the boxes of a column in rows, and returns how tall it becomes.
    fn fill(&mut self, members: &[(usize, usize)], left: i64, widest: i64) -> i64 {
        let mut rows: Vec<(Vec<usize>, i64, i64)> = Vec::new();
        for &(_, number) in members {
            let Card { width, height, .. } = self.card(number);
            match rows.last_mut() {
                Some((row, wide, tall)) if *wide + DOWN + width <= widest => {
                    row.push(number);
                    (*wide, *tall) = (*wide + DOWN + width, height.max(*tall));
                }
                Some(_) | None => rows.push((vec![number], width, height)),
            }
        }
        let mut top = 0;
        for (row, wide, tall) in rows {
            let mut x = left + (widest - wide) / 2;
            let first = row.first().copied();
            self.behind.extend(row.iter().skip(1).filter_map(|number| Some((*number, first?))));
            for number in row {
                if let Some((card, _)) = self.cards.get_mut(number) {
                    (card.x, card.y) = (x, top);
                    x += card.width + DOWN;
                }
            }
            top += tall + DOWN;
        }
        (top - DOWN).max(0)
    }

    /// Returns the points above the boxes that stand before this one in its row: lines to it pass there.
    pub(crate) fn above(&self, group: usize) -> Vec<(i64, i64)> {
        let Some(first) = self.behind.get(&group).map(|first| self.card(*first)) else {
            return Vec::new();
        };
        let own = self.card(group);
        vec![(first.x - 12, own.y - 10), (own.x - 22, own.y - 10)]
    }

    /// Returns where a box stands that is open.
    pub(crate) fn open(&self, group: usize) -> Option<Card> {
        self.cards.get(group).filter(|(_, is_open)| *is_open).map(|(card, _)| *card)
    }

    /// Returns where a box stands that is closed.
    pub(crate) fn closed(&self, group: usize) -> Option<Card> {
        self.cards.get(group).filter(|(_, is_open)| !*is_open).map(|(card, _)| *card)
    }

    /// Returns the left upper corner of a box.
    pub(crate) fn corner_of_group(&self, group: usize) -> (i64, i64) {
        self.cards.get(group).map_or((0, 0), |(card, _)| (card.x, card.y))
    }

    /// Returns the left upper corner of a node.
    pub(crate) fn corner_of(&self, node: &MapNode) -> (i64, i64) {
        let (x, y) = self.corner_of_group(node.group);
        (x + node.x, y + node.y)
    }

    /// Returns where a node stands, if its box is open.
    pub(crate) fn card_of(&self, node: &MapNode) -> Option<Card> {
        let card = self.open(node.group)?;
        Some(Card { x: card.x + node.x, y: card.y + node.y, width: node.width, height: node.height })
    }

    /// Returns where a node stands, or its closed box.
    pub(crate) fn card_or_box(&self, node: &MapNode) -> Card {
        self.card_of(node).or_else(|| self.closed(node.group)).unwrap_or_default()
    }
}
