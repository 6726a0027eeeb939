//! An array by series id of which only the pages in use take memory.
//!
//! Ids rise for as long as a node runs while old series are forgotten, so what is kept by id becomes sparse. Pages
//! stand in chapters, so that also the list of pages is sparse: at the last id it is as small as at the first.

/// Entries of a page: small, so that one series that stays keeps little of its neighbours' room.
const PAGE: usize = 256;

/// Pages of a chapter.
const CHAPTER: usize = 1_024;

/// Values by id; an id without a value has the default.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    chapters: Vec<Option<Box<[Page<T>]>>>,
    /// What an id without a page has.
    empty: T,
}

type Page<T> = Option<Box<[T]>>;

impl<T: Default + Clone> Default for Paged<T> {
    fn default() -> Self {
        Self { chapters: Vec::new(), empty: T::default() }
    }
}

impl<T: Default + Clone> Paged<T> {
    /// The value of an id.
    #[must_use]
    pub fn get(&self, id: u32) -> &T {
        let (chapter, page, place) = address(id);
        let chapter = self.chapters.get(chapter).and_then(Option::as_deref);
        let page = chapter.and_then(|pages| pages.get(page)?.as_deref());
        page.and_then(|page| page.get(place)).unwrap_or(&self.empty)
    }

    /// The value of an id, to be changed.
    #[expect(
        clippy::indexing_slicing,
        reason = "chapter and page are made first, with room for every address"
    )]
    pub fn get_mut(&mut self, id: u32) -> &mut T {
        let (chapter, page, place) = address(id);
        if self.chapters.len() <= chapter {
            self.chapters.resize(chapter + 1, None);
        }
        let pages = self.chapters[chapter].get_or_insert_with(|| vec![None; CHAPTER].into());
        let page = pages[page].get_or_insert_with(|| vec![T::default(); PAGE].into());
        &mut page[place]
    }

    /// Shows every value of the pages in use, and drops pages in which the visitor keeps none.
    pub fn retain(&mut self, mut keep: impl FnMut(u32, &mut T) -> bool) {
        for (chapter, slot) in self.chapters.iter_mut().enumerate() {
            let Some(pages) = slot else { continue };
            let mut has_pages = false;
            for (page, slot) in pages.iter_mut().enumerate() {
                let Some(values) = slot else { continue };
                let mut is_used = false;
                for (place, value) in values.iter_mut().enumerate() {
                    if keep(id_of(chapter, page, place), value) {
                        is_used = true;
                    } else {
                        *value = T::default();
                    }
                }
                if !is_used {
                    *slot = None;
                }
                has_pages |= is_used;
            }
            if !has_pages {
                *slot = None;
            }
        }
    }

    /// The values of the pages in use, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.pages().flat_map(|(chapter, page, values)| {
            values.iter().enumerate().map(move |(place, value)| (id_of(chapter, page, place), value))
        })
    }

    /// Bytes that chapters and pages take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let chapters = self.chapters.iter().flatten().count();
        self.pages().count() * PAGE * size_of::<T>() + chapters * CHAPTER * size_of::<Page<T>>()
    }

    fn pages(&self) -> impl Iterator<Item = (usize, usize, &[T])> {
        let chapters = self.chapters.iter().enumerate();
        let pages = chapters.filter_map(|(number, chapter)| Some((number, chapter.as_deref()?)));
        pages.flat_map(|(chapter, pages)| {
            let pages = pages.iter().enumerate();
            pages.filter_map(move |(page, values)| Some((chapter, page, values.as_deref()?)))
        })
    }
}

/// Chapter, page and place.
fn address(id: u32) -> (usize, usize, usize) {
    let id = id as usize;
    (id / (PAGE * CHAPTER), id / PAGE % CHAPTER, id % PAGE)
}

fn id_of(chapter: usize, page: usize, place: usize) -> u32 {
    u32::try_from((chapter * CHAPTER + page) * PAGE + place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{PAGE, Paged};

    #[test]
    fn only_pages_with_kept_values_take_memory() {
        let mut paged = Paged::<u32>::default();
        for id in [0, 255, 256, 70_000, u32::MAX - 1] {
            *paged.get_mut(id) = id + 1;
        }
        assert_eq!((*paged.get(0), *paged.get(256), *paged.get(257)), (1, 257, 0));
        assert_eq!((*paged.get(u32::MAX), *paged.get(1 << 30)), (0, 0));
        let before = paged.memory_bytes();
        paged.retain(|id, value| *value > 0 && id >= 70_000);
        assert_eq!((*paged.get(0), *paged.get(256)), (0, 0));
        let kept: Vec<u32> = paged.iter().filter(|(_, value)| **value > 0).map(|(id, _)| id).collect();
        assert_eq!(kept, [70_000, u32::MAX - 1]);
        assert_eq!(before - paged.memory_bytes(), 2 * PAGE * size_of::<u32>());
    }
}
