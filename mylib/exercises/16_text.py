"Lesson 16: text."
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from mylib.judge import call, case, entry


@entry('16.1', level=2, minutes=12, hints=[
    'Which words does `lower` change? And for which of those does one of the two marks bring the word back exactly as it was?',
    'Try `str.capitalize` for `TK_MAJ` and `str.upper` for `TK_UP` on the word in lower case, and compare with the word. Only where they agree may a mark be set.',
    'A single capital fits both; `TK_MAJ` has its turn first. A word whose lower case is one of `SPECIALS` stays as it is, else a text could forge a mark. Whatever is left over is returned as it came, in a list.'],
    why='The condition is the inverse itself, so no list of exceptions is needed: whatever Unicode does to a word, it is changed only where the change is undone by the rule that undoes it.')
def case_():
    return [call('_case', 'the', say='a word in lower case has no mark'),
            call('_case', 'The', say='a capital first becomes xxmaj'),
            call('_case', 'THE', say='all in capitals becomes xxup'),
            call('_case', 'A', say='a single capital counts as a capital first'),
            call('_case', 'McDonald', say='a word that neither mark brings back stays as it is'),
            call('_case', '1990', say='digits and signs have no case'),
            call('_case', 'U.S.', say='signs between capitals do no harm'),
            call('_case', "O'Neill", say='a second capital would be lost, so the word stays'),
            call('_case', 'Việt', say='letters beyond ASCII have their capitals too'),
            call('_case', 'İstanbul', say='a letter that lower case cannot give back stays'),
            call('_case', 'STRASSE', say='what is undone exactly is marked'),
            call('_case', 'Straße', say='a letter whose capital is two letters, with a capital first'),
            call('_case', 'ﬁ', say='a ligature is left alone'),
            call('_case', 'XXMAJ', say='a word that would become one of the marks stays as it is'),
            call('_case', 'Xxunk', say='no reserved word can be made by lower case')]


def words(m, text): return list(m._words(text.split()))

def plain_words(m): return list(m._words(['it', "'s", 'a', 'film', '!']))
def capitals(m): return words(m, 'xxmaj the xxup bbc film')
def long_word(m): return words(m, 'xxrep 5 so xxrep 4 !')
def many_words(m): return words(m, 'a xxwrep 3 very good film')
def all_at_once(m): return words(m, 'xxwrep 3 xxup no xxrep 4 xxmaj so xxwrep 3 xxrep 3 ha end')
def one_word_only(m): return words(m, 'xxmaj the end xxrep 3 so so xxwrep 3 no no')
def other_marks(m): return list(m._words(['xxbos', 'xxunk', 'xxglue', ' ', '\n']))

def there_and_back(m):
    texts = "the The THE A O'neill Mother-in-law Sooooo NOOOO goood see 1000 !!!! McDonald İSTANBUL IŞIK Straße ŉ ﬁ ǅ aaaa AAAA XXUP xxmaj".split()
    return [[w, *m._words(m._repeats(w))] for w in texts]

def no_number(m): return words(m, 'xxwrep film a'), words(m, 'xxrep very b')
def at_the_end(m): return words(m, 'a xxrep'), words(m, 'b xxmaj'), words(m, 'c xxwrep 3'), words(m, '')
def huge_number(m):
    res = words(m, f'xxwrep {"9"*20} a xxrep {"9"*20} b c')
    return dict(words_below_5000=len(res) < 5000, letters_below_5000=len(''.join(res)) < 5000, the_last=res[-1])

def other_numbers(m): return words(m, 'xxwrep -3 a'), words(m, 'xxwrep ² b'), words(m, 'xxwrep 2.5 c')
def empty_word(m): return list(m._words(['xxrep', '3', '', 'a']))

@entry('16.2', level=2, minutes=25, hints=[
    'Walk through the tokens with an iterator and remember what the marks said until a word comes. What has to be remembered, and when is it forgotten?',
    'Three things: the case, how often the last character stands there, how often the word. A counting mark takes the following token as its number, whatever it is. A word uses up all three, and then they begin anew.',
    '`next(it, "")` gives the number even at the end of the list. It counts only if `isdecimal` says so and it has at most three digits, otherwise it is 1. Apply the case first, then repeat the last character, then the word.'],
    why='A language model will write marks in any order, without their numbers, and with numbers of twenty digits. Reading its output must neither fail nor fill the memory, so a number is looked at before it is believed.')
def words_entry():
    return [case('words without marks come out as they are', plain_words),
            case('xxmaj gives a capital first, xxup capitals throughout', capitals, also=words),
            case('xxrep: the last character as often as the number says', long_word, also=words),
            case('xxwrep: the word as often as the number says', many_words, also=words),
            case('marks in front of the same word add up', all_at_once, also=words),
            case('a mark is used up by its word', one_word_only, also=words),
            case('other reserved words, and white space, are words', other_marks),
            case('whatever `_repeats` makes of a word is undone', there_and_back),
            case('a counting mark takes the next token as its number, and without a number counts 1', no_number, also=words),
            case('no mark stumbles over the end of the list', at_the_end, also=words),
            case('a number of twenty digits is no trap', huge_number, also=words),
            case('what is no number of decimal digits counts 1', other_numbers, also=words),
            case('an empty word has no last character', empty_word)]


FILMS = [['xxbos', 'a', 'good', 'film'], ['xxbos', 'a', 'bad', 'film'], ['a', 'film']]

def vocab(m, words='xxunk a b c'): return m.Vocab(words.split())

def numbers_and_back(m):
    v = vocab(m)
    return dict(ids=v.numericalise(['c', 'a', 'c']), words=v.tokens([3, 1]), of_a_tensor=v.tokens(torch.tensor([2, 2])), nothing=[v.numericalise([]), v.tokens([])])

def unknown_words(m):
    v = vocab(m, 'a xxunk b')
    return dict(ids=v.numericalise(['b', 'z', 'q']), number=v.unk, back=v.tokens([0, 1]))

def from_documents(m): return m.Vocab.from_tokens(FILMS, min_count=1).itos
def rare_ones_left_out(m): return m.Vocab.from_tokens(FILMS, min_count=2).itos[10:], m.Vocab.from_tokens(FILMS).itos[10:]

def ties(m):
    docs = [[*'zebra'], [*'bear']]
    return [m.Vocab.from_tokens(d, min_count=1).itos[10:] for d in (docs, docs[::-1])]

def at_most(m): return {n: m.Vocab.from_tokens(FILMS, min_count=1, max_size=n).itos[10:] for n in (10, 11, 12, 99)}
def from_a_counter(m): return m.Vocab.from_tokens(Counter(a=3, film=5, xxbos=9), min_count=1).itos[10:]
def from_a_generator(m): return m.Vocab.from_tokens((d for d in FILMS), min_count=1).itos[10:]

def like_a_list(m):
    v = vocab(m)
    return dict(length=len(v), third=v[2], holds=['b' in v, 'z' in v], itos=v.itos, stoi=v.stoi)

def equal_ones(m): return dict(same=vocab(m) == vocab(m), order=vocab(m) == vocab(m, 'xxunk b a c'), more=vocab(m) == vocab(m, 'xxunk a b c d'), a_list=vocab(m) == ['xxunk', 'a', 'b', 'c'])

def fingerprints(m):
    f = lambda *words: m.Vocab(['xxunk', *words]).fingerprint
    return dict(digits=len(f('a')) == 16 and set(f('a')) <= set('0123456789abcdef'), same=f('a', 'b') == f('a', 'b'), order=f('a', 'b') == f('b', 'a'), borders=f('ab', 'c') == f('a', 'bc'),
                separators=f('a', 'b c') == f('a', 'b', 'c'), longer=f('a') == f('a', 'b'))

def saved_and_loaded(m):
    v = vocab(m, 'xxunk café "x" 電影')
    with tempfile.TemporaryDirectory() as d:
        file = v.save(f'{d}/v.json')
        return dict(equal=m.Vocab.load(file) == v, as_expected=m.Vocab.load(f'{d}/v.json', v.fingerprint) == v)

def wrong_one(m):
    with tempfile.TemporaryDirectory() as d: m.Vocab.load(vocab(m).save(f'{d}/v.json'), '0123456789abcdef')

def touched(m):
    with tempfile.TemporaryDirectory() as d:
        file = Path(vocab(m, 'xxunk film good').save(f'{d}/v.json'))
        file.write_text(file.read_text(encoding='utf-8').replace('film', 'flim'), encoding='utf-8')
        m.Vocab.load(file)

def something_else(m):
    with tempfile.TemporaryDirectory() as d:
        (Path(d)/'v.json').write_text('[1, 2]', encoding='utf-8')
        m.Vocab.load(f'{d}/v.json')

def letters_for_words(m): vocab(m).numericalise('abc')
def texts_for_documents(m): m.Vocab.from_tokens(['a good film', 'a bad film'])
def beyond_the_end(m): vocab(m).tokens([1, 4])
def before_the_beginning(m): vocab(m).tokens([-1])
def word_twice(m): vocab(m, 'xxunk a b a')
def no_unknown(m): vocab(m, 'a b c')
def too_small_for_specials(m): m.Vocab.from_tokens(FILMS, max_size=3)
def count_of_zero(m): m.Vocab.from_tokens(FILMS, min_count=0)

@entry('16.3', level=2, minutes=40, seconds=60, hints=[
    'A list and a dict that is its inverse; nearly all methods are one line on these two. What must be refused, because Python would do something else without complaint?',
    '`stoi.get(t, unk)` numericalises. To be independent of the order of the documents, sort the words by minus their count and then by the word itself; special tokens are put in front and are not counted. A string in place of a list of tokens is refused by `_not_str`, and negative numbers must be looked for, since a list takes them.',
    'The fingerprint: the list as JSON (so that borders between tokens count), its SHA-256, sixteen digits. `save` writes itos and fingerprint as JSON and returns the path; `load` makes a new one and compares its fingerprint with the one in the file and the one expected. Damaged, changed or unexpected: a ValueError each, which names the file.'],
    why='The ids of one vocabulary mean nothing in another, and nobody notices, since they are all numbers in range: that is what the fingerprint is for. Ties are broken by the word, because a dict keeps the order in which words were first seen, and then the same texts in another order would give another model.')
def vocab_class():
    return [case('numbers of tokens, and tokens of numbers', numbers_and_back, also=vocab),
            case('what is not known becomes xxunk, wherever that stands', unknown_words, also=vocab),
            case('length, index, membership, and the two tables', like_a_list, also=vocab),
            case('from documents: special tokens first, then by frequency', from_documents),
            case('tokens that are rarer than min_count are left out, 3 by default', rare_ones_left_out),
            case('ties are broken by the token, so the order of the documents does not matter', ties),
            case('max_size counts the special tokens too', at_most),
            case('a Counter will do', from_a_counter),
            case('the documents may come from a generator', from_a_generator),
            case('equal if the tokens and their order are', equal_ones, also=vocab),
            case('sixteen hexadecimal digits that depend on every token, its borders and its number', fingerprints),
            case('what is saved can be loaded', saved_and_loaded, also=vocab),
            case('another vocabulary than the one expected is refused', wrong_one, raises=ValueError, names='0123456789abcdef', also=vocab),
            case('a file that was changed is refused', touched, raises=ValueError, names='v.json', also=vocab),
            case('a file of something else is refused', something_else, raises=ValueError, names='v.json'),
            case('a string in place of a list of tokens is refused', letters_for_words, raises=TypeError, names='string', also=vocab),
            case('strings in place of documents are refused', texts_for_documents, raises=TypeError, names='string'),
            case('a number that no token has is refused', beyond_the_end, raises=IndexError, names='4', also=vocab),
            case('a negative one, too', before_the_beginning, raises=IndexError, names='-1', also=vocab),
            case('a token that comes twice is refused', word_twice, raises=ValueError, names="'a'", also=vocab),
            case('a list without xxunk is refused', no_unknown, raises=ValueError, names='xxunk', also=vocab),
            case('a size too small for the special tokens is refused', too_small_for_specials, raises=ValueError, names='max_size'),
            case('a count of 0 is refused', count_of_zero, raises=ValueError, names='min_count')]


@entry('16.4', level=1, minutes=10, hints=[
    'Walk through the word with an index. What do you do where the pair stands, and how far do you go on then?',
    'If this id and the next one are the pair, the new id is written and two are used up; otherwise this one is written and one is used up.',
    'At the last place there is no next one: look whether there is before you compare. The word that came in stays as it is, the result is a new list.'],
    why='Two steps forward after a hit is what makes it "from the left": in a run of three equal ids only the first two are joined, and the encoder must decide as the training did, or the counts would be those of other tokens.')
def merge():
    return [call('_merge', [1, 2, 3], (1, 2), 9, say='the pair becomes the new id'),
            call('_merge', [1, 2, 3, 1, 2], (1, 2), 9, say='everywhere'),
            call('_merge', [3, 1, 2], (1, 2), 9, say='also at the end'),
            call('_merge', [2, 1, 3, 1], (1, 2), 9, say='only in this order, side by side'),
            call('_merge', [5, 5, 5], (5, 5), 9, say='from the left: each id is used once'),
            call('_merge', [5]*6, (5, 5), 9, say='an even run becomes half as long'),
            call('_merge', [1, 1, 2], (1, 2), 9, say='what looks like a beginning may be none'),
            call('_merge', [9, 1, 2, 9], (9, 9), 7, say='what is new is not merged again'),
            call('_merge', [1, 2, 2], (1, 2), 1, say='the new id may be that of the pair'),
            call('_merge', [], (1, 2), 9, say='a word of nothing'),
            call('_merge', [1], (1, 1), 9, say='a word of one'),
            call('_merge', ['a', 'b', 'c'], ('b', 'c'), 'bc', say='strings will do as well')]


def corpus(n_words=300, n_letters=60, seed=0):
    "Words of three to five letters out of many, each with a count."
    rng = np.random.default_rng(seed)
    return {''.join(chr(97 + k) for k in rng.integers(0, n_letters, rng.integers(3, 6))): int(rng.integers(1, 50)) for _ in range(n_words)}

def some_hundred(m): return m.train_merges(corpus(n_letters=6), 150)

def words_touched(m):
    real, calls = m._merge, []
    with patch.object(m, '_merge', lambda *args: (calls.append(1), real(*args))[1]):
        n = len(m.train_merges(corpus(n_letters=26), 26 + 100))
    return {'more than 20 words merged anew for each merge': len(calls) > 20*n}

def counter_kept(m):
    counts = Counter(low=5, lower=2)
    m.train_merges(counts, 10)
    return dict(counts)

@entry('16.5', level=3, minutes=60, hints=[
    'The version by the book counts all pairs anew after each merge. Which words does a merge change? What would you have to remember to find them at once?',
    'Keep the count of each pair, and for each pair the set of words in which it occurs. For a merge, go through those words only: take their old pairs off the counts, merge, add the new pairs. A heap of (-count, pair) gives the best pair, and pairs of ids make older tokens win ties.',
    'A heap entry whose count is out of date is put back with the right one, if anything is left of it. Push every pair that holds the new token once the words are done. The new token is the next number. Stop at n_tokens, or when the best count is below min_count or 1.'],
    why='Counts of old pairs can fall and never rise, so an entry in the heap is never too low and the top, once its count is right, is the best. That is why lazy repair is enough, and a merge costs as much as the words that it touches.')
def train_merges():
    return [call('train_merges', {'ab': 1}, 3, say='one word of two letters gives one merge'),
            call('train_merges', {'abcd': 4}, 5, say='it stops at n_tokens, the alphabet included'),
            call('train_merges', {'abcd': 4}, 4, say='no merge where the alphabet is enough'),
            call('train_merges', {'ab': 1, 'cd': 2}, 5, say='a word counts as often as it occurs'),
            call('train_merges', {'abab': 2, 'bc': 3}, 4, say='a pair counts at every place in a word'),
            call('train_merges', {'cd': 1, 'ab': 1}, 6, say='ties go to the pair whose tokens are older'),
            call('train_merges', {'low': 5, 'lower': 2, 'newest': 6, 'widest': 3}, 20, say="Sennrich's example: merges of merges, best first"),
            call('train_merges', {'abc': 1, 'cbx': 1, 'abd': 1}, 9, say='an older token wins over one that was merged'),
            call('train_merges', {'ab': 3, 'cd': 1}, 10, min_count=2, say='a pair that is rarer than min_count is not merged'),
            call('train_merges', {'ab': 3, 'cd': 0}, 10, min_count=0, say='a pair that does not occur is never merged'),
            call('train_merges', {'bac': 2}, 27, alphabet='abcdefghijklmnopqrstuvwxyz', say='a given alphabet counts as tokens'),
            call('train_merges', {'ab': 2}, 50, alphabet=iter('ba'), say='an alphabet of any order is sorted'),
            call('train_merges', {'aaaa': 1, 'aaa': 2}, 10, say='equal letters in a row are merged from the left'),
            call('train_merges', {'abc': 5, 'abd': 4, 'zabc': 1, 'bc': 20, 'abcq': 3}, 20, say='pairs beside a merge lose count and gain it'),
            call('train_merges', {'bc': 9, 'abc': 3, 'abd': 5, 'ab': 1, 'xabcy': 2, 'aabc': 4, 'bcabc': 2}, 14, say='tokens of several letters'),
            call('train_merges', {}, 10, say='no words, no merges'),
            call('train_merges', {'a': 3, '': 1}, 10, say='words without a pair do no harm'),
            case('the counts are left as they were', counter_kept),
            case('a hundred merges and more, with many ties', some_hundred, also=corpus),
            case('a merge touches only the words in which its pair occurs', words_touched, also=corpus)]


def ranked(*merges): return {tuple(pair.split('+')): i for i, pair in enumerate(merges)}

def trained(m, **words): return {p: i for i, p in enumerate(m.train_merges(Counter(words), 99))}

def from_a_training(m):
    rank = trained(m, banana=4, bandana=3, band=5, cabana=2, nan=3)
    return {w: m._bpe_word(w, rank) for w in 'banana bandana cabanaband nanabanaba dnab ananas'.split()}

def two_letters(m):
    "All words of six letters a and b, by the merges of another text."
    rank = trained(m, abba=3, baab=2, aaab=2, bbb=1)
    return {w: m._bpe_word(w, rank) for w in (''.join('ab'[i >> k & 1] for k in range(6)) for i in range(64))}

def nothing_is_lost(m):
    rank, word = trained(m, aab=5, abc=3, bca=2, caab=4), ''.join('abc'[i*i % 7 % 3] for i in range(200))
    return ''.join(m._bpe_word(word, rank)) == word

class Counting(dict):
    "Counts how often it is asked."
    asked = 0
    def __contains__(self, k): self.asked += 1; return super().__contains__(k)
    def __getitem__(self, k): self.asked += 1; return super().__getitem__(k)
    def get(self, k, default=None): self.asked += 1; return super().get(k, default)

def four_hundred_letters(m):
    "A word of 400 letters, each another, and a merge for every second pair: how often the merges are looked up."
    word = ''.join(map(chr, range(1000, 1400)))
    rank = Counting({(word[i], word[i + 1]): i for i in range(0, 400, 2)})
    m._bpe_word(word, rank)
    return dict(more_than_twenty_for_each_letter=rank.asked > 20*len(word))

def ranks_stay(m):
    rank = ranked('a+b', 'ab+c')
    m._bpe_word('abcab', rank)
    return list(rank.items())

@entry('16.6', level=3, minutes=45, hints=[
    'Of all pairs in the word, the one that was learned first is merged. How do you always have that one at hand, although each merge makes two pairs disappear and two new ones?',
    'A heap of (rank, place, left, right). The pieces are a list in which a merge writes the joined piece on the left and None on the right, and two lists of numbers say who comes after and before whom. An entry is out of date if the pieces at its place are no longer those it was made for: then it is skipped.',
    'After a merge at place i, i\'s follower is the follower of what was swallowed, and that one\'s predecessor is i. Push the pair to the left of i and the pair to its right, if they have a rank. Equal ranks come up by place, so the merging is from left to right. What is not None at the end are the tokens.'],
    why='By the book, the best pair is searched for again after each merge, which for a megabyte without a space takes days. Nothing is ever taken out of the heap but from its top: to check an entry when it comes up is cheaper than to find it when it goes out of date. Comparing the pieces themselves is enough for that check, since a piece only grows.')
def bpe_word():
    return [call('_bpe_word', 'abc', {}, say='without merges, the letters'),
            call('_bpe_word', 'abc', ranked('a+b'), say='one merge'),
            call('_bpe_word', 'abab', ranked('a+b'), say='wherever it fits'),
            call('_bpe_word', 'abc', ranked('b+c', 'a+b'), say='the earlier merge comes first, not the one further left'),
            call('_bpe_word', 'abc', ranked('a+b', 'ab+c'), say='what was merged is merged again'),
            call('_bpe_word', 'abcd', ranked('b+c', 'a+bc', 'abc+d'), say='also with what stands on its left'),
            call('_bpe_word', 'aaaaa', ranked('a+a'), say='from left to right'),
            call('_bpe_word', 'aaaaaaa', ranked('a+a', 'aa+aa', 'aa+a'), say='and again'),
            call('_bpe_word', 'abcb', ranked('b+c', 'c+b'), say='a pair whose letter is gone is skipped'),
            call('_bpe_word', '', ranked('a+b'), say='a word of nothing'),
            call('_bpe_word', 'a', ranked('a+a'), say='a word of one letter'),
            case('merges from a training', from_a_training, also=trained),
            case('all words of six letters', two_letters, also=trained),
            case('the tokens put together are the word', nothing_is_lost, also=trained),
            case('the merges stay as they are', ranks_stay, also=ranked),
            case('in a long word, the pairs are not looked through again after each merge', four_hundred_letters, also=Counting)]


def strips(m): return list(m.LMDataLoader([range(26)], 3, 4, shuffle=False, vary=False))
def lengths(m): return {k: [len(dl := m.LMDataLoader([range(k)], 3, 4, shuffle=False, vary=False)), sum(x.numel() for x, _ in dl)] for k in (4, 6, 7, 13, 16, 25)}
def documents(m):
    dl = m.LMDataLoader([[1, 2], torch.tensor([3, 4, 5], dtype=torch.int32), [], range(6, 10), np.array([10, 11])], 2, 3, shuffle=False, vary=False)
    return list(dl)

def settings(m):
    dl = m.LMDataLoader([range(100)], 4, 5, seed=7, vocab=['a'])
    return [dl.batch_size, dl.bptt, dl.seed, dl.epoch, dl.vocab, str(dl.device), repr(dl)]

def defaults(m):
    dl = m.LMDataLoader([range(100_000)], seed=1)
    return [dl.batch_size, dl.bptt, dl.shuffle, dl.vary, dl.vocab]

def numbered(m, **kwargs): return m.LMDataLoader([[i]*3 for i in range(100)], 4, 10, **kwargs)
def stream(batches): return torch.cat([x for x, _ in batches], 1).flatten()

def whole_documents(m):
    row = stream(numbered(m, seed=3))
    return dict(times_each=row.bincount().max(), documents=row.unique().numel(), runs=(row.diff() != 0).sum() + 1, in_order=bool((row.diff() >= 0).all()))

def targets(m):
    out = {}
    for vary in (False, True):
        batches = list(m.LMDataLoader([range(1000)], 4, 10, shuffle=False, vary=vary, seed=0))
        x, y = (torch.cat(b, 1) for b in zip(*batches))
        out |= {f'vary={vary}': torch.equal(y, x + 1), f'inputs, vary={vary}': x}
    return out

def epochs(m):
    dl = numbered(m, seed=3)
    first, second = stream(dl), stream(dl)
    dl.set_epoch(0)
    again = stream(dl)
    return dict(other_order=not torch.equal(first, second), again=torch.equal(first, again), of_another_seed=torch.equal(first, stream(numbered(m, seed=4))))

def own_numbers(m):
    torch.manual_seed(1); np.random.seed(1)
    first = stream(numbered(m, seed=3))
    torch.manual_seed(2); np.random.seed(2)
    before = torch.get_rng_state()
    second = stream(numbered(m, seed=3))
    return dict(same=torch.equal(first, second), global_generator_untouched=torch.equal(before, torch.get_rng_state()))

def drawn_seed(m):
    torch.manual_seed(1)
    a, b = numbered(m), numbered(m)
    torch.manual_seed(1)
    return dict(same_after_the_same_seed=numbered(m).seed == a.seed, the_next_is_another=a.seed != b.seed)

def widths(dl): return torch.tensor([x.shape[1] for x, _ in dl])

def vary_sum(m):
    out = {}
    for row in (1, 2, 9, 10, 11, 30, 500):
        dl = m.LMDataLoader([range(2*row + 1)], 2, 10, seed=0)
        w = widths(dl)
        out[f'rows of {row}'] = [int(w.sum()), len(w) == len(dl), bool((w >= 1).all())]
    return out

def vary_spread(m):
    w = widths(m.LMDataLoader([range(70_001)], 1, 70, shuffle=False, seed=0)).double()
    usual = w[w > 50]
    return dict(mean_near_bptt=bool(60 < w.mean() < 80), about_1_in_20_is_half=bool(0.01 < (w <= 50).double().mean() < 0.12), spread_of_the_others=bool(3 < usual.std() < 8))

def vary_epochs(m):
    dl = m.LMDataLoader([range(7001)], 1, 70, shuffle=False, seed=0)
    first, second = widths(dl), widths(dl)
    dl.set_epoch(0)
    return dict(same_number=len(first) == len(second) == len(dl), other_widths=not torch.equal(first, second), again=torch.equal(first, widths(dl)))

def from_the_middle(m):
    dl = numbered(m, seed=3)
    whole = list(dl)
    dl.set_epoch(0)
    rest = list(dl.iter_from(4))
    return [len(whole) - len(rest), all(torch.equal(a, b) for p, q in zip(whole[4:], rest, strict=True) for a, b in zip(p, q))]

def a_look(m):
    dl = numbered(m, seed=3)
    dl.set_epoch(2)
    x, y = dl.one_batch()
    x2, _ = dl.one_batch()
    first = next(iter(dl))
    return dict(epoch_before=x.shape == x2.shape and torch.equal(x, x2), equals_the_first=torch.equal(x, first[0]) and torch.equal(y, first[1]))

def scribbled(m):
    dl = m.LMDataLoader([range(26)], 3, 4, shuffle=False, vary=False)
    for x, y in dl: x.zero_(); y.fill_(-1)
    return list(dl)

def moved(m):
    dl = m.LMDataLoader([range(26)], 3, 4, shuffle=False, vary=False)
    res = dl.to('cpu') is dl, str(dl.device)
    dl.to('meta')
    return [*res, str(dl.device), str(dl.one_batch()[0].device)]

def too_few(m): m.LMDataLoader([[1, 2], [3]], 3, 4)
def no_documents(m): m.LMDataLoader([], 1, 4)
def of_floats(m): m.LMDataLoader([[1, 2, 3], [0.5, 1.]], 1, 4)
def of_words(m): m.LMDataLoader([['a', 'film']], 1, 4)
def of_two_axes(m): m.LMDataLoader([torch.zeros(3, 3, dtype=torch.int64)], 1, 4)
def no_rows(m): m.LMDataLoader([range(9)], 0, 4)
def half_a_column(m): m.LMDataLoader([range(9)], 2, 1.5)
def negative_seed(m): m.LMDataLoader([range(9)], 2, 2, seed=-1)

@entry('16.7', level=3, minutes=70, hints=[
    'Get plain strips right first, with the cell above: join the documents, cut n rows, yield columns. How many columns has a row, if every token needs one after it?',
    '`_pass(epoch, start)` yields the batches of an epoch from number `start`, from three things that depend on seed and epoch alone: the stream (documents in the order of a `RandomSampler` with this seed, `set_epoch`), the cuts, and nothing else. `len` must know the number of batches beforehand, so draw a fixed number of widths and stretch them until they fill the row.',
    'The widths: a mean of bptt in 95% of the cases and of half of it otherwise, a deviation of 5 (less for a small bptt), at least one column each; their running sum, scaled and rounded, gives the cuts, the last of them exactly `row`. Draw them from a numpy generator of (seed, epoch) of its own. Yield clones. `_ids` refuses with a TypeError that names the document whatever is no list of integers.'],
    why='All randomness is a function of seed and epoch, so a run can be resumed in the middle of one, and looking at a batch changes nothing. The number of batches is fixed before the widths are drawn, because a schedule of learning rates must know it. Batches are clones, so that no callback can write into the stream.')
def lm_dataloader():
    return [case('strips of rows: x, and y one token further', strips),
            case('the number of batches, and how many tokens are used: the last token is only a target', lengths),
            case('documents are joined in their order, as int64, empty ones too', documents),
            case('the settings, and what it shows of itself', settings),
            case('the defaults', defaults),
            case('y is x one token further, across the batches as well', targets),
            case('shuffled, every document is there once and in one piece', whole_documents, also=(numbered, stream)),
            case('another order in each epoch and for each seed, the same again for the same', epochs, also=(numbered, stream)),
            case('the order depends on the seed and on no other random number', own_numbers, also=(numbered, stream)),
            case('without a seed, one is drawn from the global generator', drawn_seed, also=numbered),
            case('widths that vary fill the row exactly, with as many batches as `len` says', vary_sum, also=widths),
            case('widths vary around bptt, by about 5, and about 1 in 20 is around half of it', vary_spread, also=widths),
            case('the number of batches is the same in each epoch, the widths are not', vary_epochs, also=widths),
            case('a pass can begin at any batch', from_the_middle, also=numbered),
            case('looking at a batch changes nothing', a_look, also=numbered),
            case('writing into a batch does not change the stream', scribbled),
            case('the stream, and with it the batches, can be moved', moved),
            case('too few tokens for the rows are refused, with how many there are', too_few, raises=ValueError, names=('3 tokens', 'batch_size')),
            case('no documents are refused', no_documents, raises=ValueError, names='batch_size'),
            case('a document of floats is refused, with its number', of_floats, raises=TypeError, names='document 1'),
            case('a document of words is refused', of_words, raises=TypeError, names='document 0'),
            case('a document with two axes is refused', of_two_axes, raises=TypeError, names='document 0'),
            case('no rows at all are refused', no_rows, raises=ValueError, names='batch_size'),
            case('half a column is refused', half_a_column, raises=TypeError, names='bptt'),
            case('a negative seed is refused', negative_seed, raises=ValueError, names='seed')]


ITEMS = [([5, 6, 7], 1), ([8], 0)]

@entry('16.8', level=1, minutes=12, hints=[
    'Make a rectangle full of padding first, as wide as the longest text. Where in its row does a text of length n go?',
    'At the front of a row means that the text takes its last n places, otherwise its first n. `_ids` turns whatever a document is into an int64 tensor, or names it in an error.',
    'Two things to mind: with n of 0, the slice of the last n places is the whole row; and a batch of empty texts still has one column. The labels become a tensor; with `lengths` the sizes stand between x and y.'],
    why='A network that reads from left to right gives its answer at the last step, so the padding goes to the front and the last column is the end of every text. At least one column, because a recurrent layer cannot read nothing.')
def pad_collate():
    return [call('pad_collate', ITEMS, say='padded at the front to the longest, with the number of xxpad'),
            call('pad_collate', ITEMS, first=False, say='first=False pads at the end'),
            call('pad_collate', ITEMS, pad=9, say='pad is the number to fill up with'),
            call('pad_collate', ITEMS, lengths=True, say='with lengths: x, lengths, y'),
            call('pad_collate', [([3, 4], 0), ([], 1)], say='an empty text is padding alone'),
            call('pad_collate', [([3, 4], 0), ([], 1)], first=False, lengths=True, say='an empty text, padded at the end, has length 0'),
            call('pad_collate', [([], 1), ([], 0)], say='a batch of empty texts has one column'),
            call('pad_collate', [(torch.tensor([3, 4], dtype=torch.int32), 0), (torch.tensor([5]), 1)], say='tensors are taken as well, x is int64'),
            call('pad_collate', [([3], 0.5), ([4, 5], 1.)], say='labels that are floats stay floats'),
            call('pad_collate', [([1], 0)], first=True, pad=0, say='a batch of one'),
            call('pad_collate', [([1, 2], 0), (['a', 'film'], 1)], raises=TypeError, names='document 1', say='a text that is not numbers is refused, with its place in the batch')]


LENGTHS = [4, 9, 1, 7, 3, 10, 2, 8, 5, 6]

def one_pool(m):
    order = list(m.SortishSampler(LENGTHS, 3, seed=0))
    batches = [sorted(LENGTHS[i] for i in order[k:k + 3]) for k in range(0, 10, 3)]
    return dict(the_first=batches[0], all_of_them=sorted(batches), the_last=batches[-1])

def each_once(m): return {n: sorted(m.SortishSampler(range(n), 4, seed=0)) for n in (1, 3, 4, 5, 9, 40, 400)}
def how_many(m): return len(m.SortishSampler(LENGTHS, 3, seed=0))

LONG = np.random.default_rng(0).integers(1, 1000, 997)

def spread(order, size): return float(np.mean([np.ptp(LONG[order[k:k + size]]) for k in range(0, len(order) - size, size)]))

def similar(m): return {pool: spread(list(m.SortishSampler(LONG, 10, seed=0, pool=pool)), 10) < most for pool, most in ((10, 180), (25, 90), (100, 30))}
def not_sorted(m): return spread(list(m.SortishSampler(LONG, 10, seed=0, pool=1)), 10) > 500

def batch_order(m):
    order = list(m.SortishSampler(LONG, 10, seed=0, pool=100))
    means = np.array([LONG[order[k:k + 10]].mean() for k in range(0, 990, 10)])[1:]
    return {'neither rising nor falling': bool(0.3 < (np.diff(means) > 0).mean() < 0.7)}

def longest_first(m):
    out = []
    for seed in range(40): # 41 = 2 pools of 20 and one text more
        sampler = m.SortishSampler(LONG[:41], 4, seed=seed, pool=5)
        out.append(LONG[list(sampler)[:4]].max() == LONG[:41].max())
    return dict(in_how_many_of_40=sum(out))

def other_epochs(m):
    sampler = m.SortishSampler(LONG, 10, seed=0, pool=5)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    def batches(order): return {frozenset(order[k:k + 10]) for k in range(0, len(order), 10)}
    return dict(again=first == again, other_order=first != second, other_batches=len(batches(first) & batches(second)) < 20, back=list(sampler) == first)

def by_seed(m):
    torch.manual_seed(1); np.random.seed(1)
    a = list(m.SortishSampler(LONG, 10, seed=5))
    torch.manual_seed(2); np.random.seed(2)
    return dict(same=a == list(m.SortishSampler(LONG, 10, seed=5)), another=a != list(m.SortishSampler(LONG, 10, seed=6)))

def without_seed(m):
    torch.manual_seed(1)
    a, b = list(m.SortishSampler(LONG, 10)), list(m.SortishSampler(LONG, 10))
    torch.manual_seed(1)
    return dict(same_after_the_same_seed=a == list(m.SortishSampler(LONG, 10)), the_next_is_another=a != b)

def kinds(m): return [sorted(m.SortishSampler(k, 2, seed=0)) for k in (LENGTHS, np.array(LENGTHS), torch.tensor(LENGTHS))]
def no_texts(m): m.SortishSampler([], 4)
def table_of_lengths(m): m.SortishSampler([[1, 2], [3, 4]], 4)
def no_batch_size(m): m.SortishSampler(LENGTHS, 0)
def no_pool(m): m.SortishSampler(LENGTHS, 4, pool=0)

@entry('16.9', level=3, minutes=45, hints=[
    'Five steps, each a line: shuffle, cut into pools, sort within each pool, cut into batches, shuffle the batches. What may not be shuffled with them?',
    'The incomplete batch stays at the end, because the loader cuts every batch_size. `np.lexsort` sorts by pool and then by length, longest first; a `RandomSampler` gives the shuffled order, its seed and its epoch. Draw the order of the batches from a numpy generator of (seed, epoch) of its own.',
    'What does not fill a pool belongs to the last pool: as a pool of its own it could hold the longest text in an incomplete batch. At the end, the batch whose first text is the longest changes places with the batch at the front.'],
    why='Shuffling within pools keeps the batches different from epoch to epoch, and sorting within them keeps the padding small. The batch with the longest text comes first, so that memory that does not suffice fails in the first second and not at the end of the epoch.')
def sortish():
    return [case('len is the number of texts', how_many),
            case('every index once', each_once),
            case('one pool: batches of neighbours in length, the longest first, the incomplete one last', one_pool),
            case('lengths may be a list, an array or a tensor', kinds),
            case('batches of similar length, the more so the larger the pool', similar, also=spread),
            case('a pool of one batch is not sorted across batches', not_sorted, also=spread),
            case('the batches do not come in the order of their lengths', batch_order),
            case('the longest text is in the first batch, whatever the seed', longest_first),
            case('the same again in the same epoch, other batches in another', other_epochs),
            case('the order depends on the seed and on no other random number', by_seed),
            case('without a seed, one is drawn from the global generator', without_seed),
            case('no texts are refused', no_texts, raises=ValueError, names='lengths'),
            case('a table of lengths is refused, with its shape', table_of_lengths, raises=ValueError, names='(2, 2)'),
            case('a batch of nothing is refused', no_batch_size, raises=ValueError, names='batch_size'),
            case('a pool of nothing is refused', no_pool, raises=ValueError, names='pool')]
