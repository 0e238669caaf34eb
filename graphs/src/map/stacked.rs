//! Boxes stacked in their columns, some of them closed.

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
    pub(crate) width: i64,
    pub(crate) height: i64,
}

impl Map {
    /// Stacks the boxes, columns from left to right, each around one middle line.
    pub(crate) fn stacked(&self, is_open: impl Fn(&MapGroup) -> bool) -> Stacked {
        let mut numbers: Vec<usize> = (0..self.groups.len()).collect();
        let key = |number: &usize| self.groups.get(*number).map(|group| (group.column, group.order));
        numbers.sort_by_key(key);
        let mut stacked =
            Stacked { cards: vec![(Card::default(), true); self.groups.len()], ..Stacked::default() };
        let mut columns: Vec<(Vec<usize>, i64, i64)> = Vec::new();
        let mut last = None;
        for number in numbers {
            let Some(group) = self.groups.get(number) else { continue };
            if last != Some(group.column) {
                columns.push((Vec::new(), 0, 0));
                last = Some(group.column);
            }
            let open = is_open(group) || group.services == 0;
            let (width, height) =
                if open { (group.width, group.height) } else { (CLOSED_WIDTH, group.closed_height) };
            if let (Some((members, widest, tall)), Some(own)) =
                (columns.last_mut(), stacked.cards.get_mut(number))
            {
                *own = (Card { x: 0, y: *tall, width, height }, open);
                members.push(number);
                *widest = width.max(*widest);
                *tall += height + DOWN;
            }
        }
        stacked.height = columns.iter().map(|(_, _, tall)| tall - DOWN).max().unwrap_or(0);
        let mut left = 0;
        for (members, widest, tall) in columns {
            for number in members {
                if let Some((card, _)) = stacked.cards.get_mut(number) {
                    card.x = left + (widest - card.width) / 2;
                    card.y += (stacked.height - (tall - DOWN)) / 2;
                }
            }
            stacked.width = left + widest;
            left += widest + ACROSS;
        }
        stacked
    }
}

impl Stacked {
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
