"`mylib.text`: what is tokenised comes back; byte pairs equal those of `tokenizers`; loaders contiguous, exhaustive, repeatable and resumable."
import json, multiprocessing, os, pickle, random, signal, subprocess, sys, time, unicodedata
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from mylib.core import set_seed
from mylib.dataloader import DataLoader, DataLoaders
from mylib.datasets import reviews, wiki
from mylib.text import (BOS, EOS, PAD, SPECIALS, TK_GLUE, TK_MAJ, TK_REP, TK_UP, TK_WREP, UNK, BPETokenizer, LMDataLoader, SortishSampler, Vocab,
                        WordTokenizer, _bpe_re, _bpe_word, _byte_chars, _merge, _spell, _word_re, _words, fix_html, nfc, pad_collate, read_text,
                        tokenise_all, train_merges)

exact, raw, plain = WordTokenizer(spaces=True), WordTokenizer(rules=(), spaces=True), WordTokenizer()
squeezed = lambda s: ''.join(s.split())

fragments = st.sampled_from(SPECIALS + [s.upper() for s in SPECIALS] + [
    "n't", "N'T", "'s", "don't", "DON'T", "I'm", "shouldn't've", "'", '’', '"', '-', '--', '---', '...', '…', '!!!!', '😂', '👩‍👩‍👧', '👍🏽', '🇹🇷', '🏳️‍🌈', '1️⃣', 'İ', 'ı', 'ß', 'ŉ',
    'ǅ', '\u0301', '\u200d', ' ', '  ', '\n', '\t', 'very ', 'Very ', 'VERY ', 'very', 'A', 'a ', 'aaa', 'AAA', 'III', '333', '3', '3 ', '3.5', 'http://a.b', 'U.S.', 'Mr.', '(', ')',
    ':)', '\x1c', '\x85', '\u2028', 'ﬁ', 'ΑΣ', 'Σ', '\ud800', '_', 'xx', 'XX', 'xxx', 'ế', 'e\u0302\u0301', 'हिन्दी', '日本語', 'ไทย', '\u200c', '\U000e0067'])
texts = st.lists(st.one_of(fragments, st.text(max_size=4)), max_size=12).map(''.join)
valid = texts.filter(lambda s: '\ud800' not in s)


# Words

@settings(deadline=None, max_examples=1000)
@given(texts)
def test_every_text_comes_back(s):
    assert raw.detokenise(raw(s)) == s
    tokens = exact(s)
    assert exact.detokenise(tokens) == nfc(s)
    assert squeezed(plain.detokenise(plain(s))) == squeezed(nfc(s))
    if not any(t == TK_GLUE or t.isspace() for t in tokens): assert plain.detokenise(plain(s)) == nfc(s) and plain(s) == tokens


@settings(deadline=None, max_examples=300)
@given(texts)
def test_pieces_leave_nothing_out(s):
    pieces = _word_re().findall(s)
    assert ''.join(pieces) == squeezed(s) and not set(pieces) & set(SPECIALS)


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(SPECIALS + ['a', 'B', '3', '12', '1000', '9'*30, ' ', '', '٣', 'ß']), st.text(max_size=3)), max_size=15))
@example([TK_REP, '9'*30, 'a'])
@example([TK_WREP, '99999999', TK_UP, 'a'])
@example([TK_REP])
@example([TK_MAJ])
def test_any_list_of_tokens_can_be_read(tokens):
    text = plain.detokenise(tokens)
    assert isinstance(text, str) and len(text) < 5_000_000


def test_marks_cannot_be_forged():
    for s in ['xxmaj a', 'xxrep 3 a', 'XXMAJ', 'xxbosss', 'xxunk', 'Xxunk', 'xxglue', 'xxbos\u0301']:
        assert not set(plain(s)[1:]) & {UNK, BOS, PAD, EOS, TK_GLUE} and squeezed(plain.detokenise(plain(s))) == squeezed(nfc(s))
    assert plain('Xxmaj xxREP') == [BOS, 'Xxmaj', 'xxREP']


@pytest.mark.parametrize('text,tokens', [
    ('', ''), (' \n ', ''), ('The film', 'xxmaj the film'), ('A GOOD McDonald', 'xxmaj a xxup good McDonald'), ("It isn't Tolkien's.", "xxmaj it is n't xxmaj tolkien 's ."),
    ("DON'T I'm you’ll", "xxup do xxup n't xxmaj i 'm you ’ll"), ('Sooooo!!!! ok...', 'xxrep 5 xxmaj so xxrep 4 ! ok xxrep 3 .'), ('no no no No No', 'xxwrep 3 no xxmaj no xxmaj no'),
    ('Very very very very', 'xxmaj very xxwrep 3 very'), ('sooo soo so so so', 'xxrep 3 so soo xxwrep 3 so'), ('ok ok', 'ok ok'), ('goood 1000 3,000.50 10:30 U.S. Mr. X', 'goood 1000 3,000.50 10:30 xxup u.s. xxmaj mr. xxmaj x'),
    ('well-made -- and/or #tag @me', 'well - made -- and / or # tag @ me'), ('see http://a.b/c?d=1. :-) x', 'see http://a.b/c?d=1 . :-) x'), ('İstanbul ısı', 'İstanbul ısı'),
    ('Tiếng Việt', 'xxmaj tiếng xxmaj việt'), ('👩‍👩‍👧👍🏽🇹🇷🇻🇳1️⃣', '👩‍👩‍👧 👍🏽 🇹🇷 🇻🇳 1️⃣'), ('😂😂😂', 'xxwrep 3 😂'), ('हिन्दी में', 'हिन्दी में'), ("rock 'n' roll o'clock", "rock ' n ' roll o'clock"),
    ("the '80s 1990's 3rd", "the ' 80s 1990 's 3rd"), ('a\u200bb', 'a \u200b b')])
def test_tokens(text, tokens):
    for form in ('NFC', 'NFD'): assert plain(unicodedata.normalize(form, text))[1:] == [nfc(t) for t in tokens.split(' ')]*bool(tokens)


def test_white_space_marks():
    assert exact('a  b\n')[1:] == ['a', '  ', 'b', '\n'] and exact('(a )')[1:] == ['(', 'a', ' ', ')'] and exact('3.a')[1:] == ['3', '.', TK_GLUE, 'a']
    assert plain.detokenise(plain("\"Don't go (yet), J.R.! It's well-made: 50%, $3 or £4; [sic]. 😂😂")) == "\" Don't go (yet), J.R.! It's well-made: 50%, $3 or £4; [sic]. 😂😂"


def test_options():
    assert WordTokenizer(bos=False)('a') == ['a'] and WordTokenizer(rules=[fix_html, nfc])('a &amp; b<br />c') == [BOS, 'a', '&', 'b', 'c']
    assert fix_html('a<BR>b&lt;') == 'a\nb<'
    assert plain.detokenise([BOS, 'a', PAD, PAD, EOS]) == 'a'
    for bad in (b'bytes', None, 3):
        with pytest.raises(TypeError, match='text must be a string'): plain(bad)
        with pytest.raises(TypeError, match='text must be a string'): BPETokenizer([])(bad)


def test_the_cache_changes_nothing_and_is_bounded():
    fresh = WordTokenizer()
    for s in reviews().text[:300]: assert fresh(s) == WordTokenizer()(s) == fresh(s)
    n = len(fresh._known)
    fresh('x'*60)
    assert len(fresh._known) == n
    assert pickle.loads(pickle.dumps(exact))(' a') == exact(' a') and len(pickle.dumps(fresh)) < 500


@pytest.mark.parametrize('unit', ['It is what it is. ', 'a', '!', "a'", 'a.', '1,', '👩\u200d', ' ', 'no ', 'xx', '-', '\u0301', ':', "'s", 'http://', 'n\'t'])
def test_a_megabyte(unit):
    s = (unit*1_000_000)[:1_000_000]
    start = time.process_time()
    assert squeezed(plain.detokenise(plain(s))) == squeezed(nfc(s))
    assert time.process_time() - start < 30  # linear is a second or two; quadratic would be hours


def test_bytes(tmp_path):
    (f := tmp_path/'f.txt').write_bytes(b'ok\nok \xff')
    with pytest.raises(ValueError, match=r'f.txt: byte 0xff at position 6 \(line 2\) is not utf-8'): read_text(f)
    assert read_text(f, errors='replace') == 'ok\nok \ufffd' and read_text(f, 'latin-1') == 'ok\nok ÿ'
    (tmp_path/'g').write_text('đẹp', encoding='utf-8')
    assert read_text(tmp_path/'g') == 'đẹp'


# Processes

class Slow:
    def __call__(self, s): time.sleep(0.02); return [s]

class Pid:
    def __call__(self, s): return [os.getpid()]

class Fails:
    def __call__(self, s):
        if s == 'bad': raise ValueError('cannot')
        return [s]

@pytest.mark.parametrize('num_workers', [0, 2])
def test_order_and_errors(num_workers, capfd):
    docs = [str(i) for i in range(300)]
    assert tokenise_all(Fails(), docs, num_workers, progress=True, batch_size=7) == [[d] for d in docs]
    assert '300/300' in capfd.readouterr().err
    with pytest.raises(ValueError, match=r"cannot.*document 250: 'bad'"): tokenise_all(Fails(), docs[:250] + ['bad'] + docs, num_workers)
    assert tokenise_all(Fails(), [], num_workers) == [] and tokenise_all(Fails(), iter('ab'), num_workers) == [['a'], ['b']]
    assert ({os.getpid()} in [set(d) for d in tokenise_all(Pid(), docs, num_workers)]) == (num_workers == 0)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name != 'posix', reason='signals are POSIX')
@pytest.mark.parametrize('wait', [0, 0.01, 0.3]) # while workers start, and later
def test_ctrl_c_leaves_no_process(wait):
    program = f'''
import signal, sys, time; sys.path.insert(0, {os.path.dirname(__file__)!r})
signal.signal(signal.SIGINT, signal.default_int_handler) # a background job begins with Ctrl-C ignored
from test_text import Slow
from mylib.text import tokenise_all
try: tokenise_all(Slow(), ['a']*20_000, num_workers=2, batch_size=5, progress=True)
except KeyboardInterrupt:
    import multiprocessing
    print('interrupted', len(multiprocessing.active_children()))
'''
    p = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while True:  # until the bar moves
        c = p.stderr.read(1)
        if c == '/' or not c: break
    time.sleep(wait)
    os.killpg(p.pid, signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert out == 'interrupted 0\n' and 'Traceback' not in err, err
    for _ in range(100):  # helpers of multiprocessing end when they notice that their parent has
        try: os.killpg(p.pid, 0)
        except ProcessLookupError: return
        time.sleep(0.05)
    pytest.fail('a process is left')


# Vocab

def test_vocab_order_count_and_limit():
    docs = [['b', 'a', 'c'], ['a', 'b', TK_MAJ], ['a', 'b', 'd', 'd']]
    v = Vocab.from_tokens(docs, min_count=2)
    assert v.itos == [*SPECIALS, 'a', 'b', 'd'] and len(v) == 13 and 'a' in v and 'c' not in v and v[10] == 'a'
    assert Vocab.from_tokens(docs, min_count=1, max_size=12).itos == [*SPECIALS, 'a', 'b']
    assert Vocab.from_tokens(Counter(a=3, b=3, d=2, c=1), min_count=2) == Vocab.from_tokens(docs[::-1], min_count=2) == v != Vocab.from_tokens(docs, min_count=3)
    assert v.numericalise(['a', 'c', UNK]).tolist() == [10, 0, 0] and v.numericalise([]).dtype == torch.int64
    assert Vocab(['a', UNK]).numericalise(['x']).tolist() == [1]


@given(st.lists(st.lists(st.text(max_size=2), max_size=5), max_size=5), st.lists(st.text(max_size=2)))
def test_numericalise_and_back(docs, tokens):
    v = Vocab.from_tokens(docs, min_count=1)
    assert v.tokens(v.numericalise(tokens)) == [t if t in v else UNK for t in tokens]
    assert all(t in v for d in docs for t in d) and len(set(v.itos)) == len(v)


def test_vocab_refuses(tmp_path):
    v = Vocab([UNK, 'a'])
    for f, err, msg in [(lambda: v.numericalise('aa'), TypeError, 'tokens is a string'), (lambda: Vocab.from_tokens(['a text']), TypeError, 'docs holds a string'),
                        (lambda: v.tokens([2]), IndexError, 'ids run from 2 to 2, but the vocabulary has 2'), (lambda: v.tokens([-1]), IndexError, 'from -1'),
                        (lambda: Vocab(['a']), ValueError, "must hold 'xxunk'"), (lambda: Vocab([UNK, 'a', 'a']), ValueError, "twice: 'a'"),
                        (lambda: Vocab.from_tokens([], min_count=0), ValueError, 'min_count'), (lambda: Vocab.from_tokens([], max_size=3), ValueError, 'max_size')]:
        with pytest.raises(err, match=msg): f()
    f = Vocab([UNK, 'a', '\n', '\ud800', '"']).save(tmp_path/'v.json')
    assert Vocab.load(f).itos == [UNK, 'a', '\n', '\ud800', '"']
    assert Vocab.load(f, Vocab.load(f).fingerprint) and v.fingerprint != Vocab(['a', UNK]).fingerprint
    with pytest.raises(ValueError, match='is expected'): Vocab.load(f, v.fingerprint)
    for content in ('', '[]', '{"itos": []}', f.read_text().replace('"a"', '"b"')):
        f.write_text(content)
        with pytest.raises(ValueError, match='v.json'): Vocab.load(f)


# Byte pairs

def library(texts, n_tokens, min_count=0):
    tokenizers = pytest.importorskip('tokenizers')
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    new = tokenizers.Tokenizer(tokenizers.models.BPE())
    new.pre_tokenizer = level
    new.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(vocab_size=n_tokens, min_frequency=min_count, initial_alphabet=level.alphabet(), show_progress=False))
    return new

def merges_of(lib): return [tuple(m) for m in json.loads(lib.to_str())['model']['merges']]
def long_known(s): return all(unicodedata.ucd_3_2_0.category(c) not in ('Cn', 'Cs') for c in s)  # since Unicode 3.2, so in every table


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text('abc ', max_size=14), max_size=8), st.integers(256, 330), st.integers(1, 3), st.text('abc ', max_size=30))
def test_merges_equal_the_librarys(texts, n_tokens, min_count, other):
    lib, ours = library(texts, n_tokens, min_count), BPETokenizer.train(texts, n_tokens, min_count, bos=False)
    assert ours.merges == merges_of(lib)
    for s in [*texts, other]: assert ours(s) == lib.encode(s).tokens


def test_merges_of_the_articles():
    articles = [a.text for a in wiki()][::8] + ['Tiếng Việt rất đẹp 😂 İstanbul ']*50
    lib, ours = library(articles, 1500), BPETokenizer.train(articles, 1500)
    assert ours.merges == merges_of(lib) and len(ours.merges) == 1500 - 256
    for s in reviews().text[::100]: assert ours(s)[1:] == lib.encode(s).tokens


@settings(deadline=None, max_examples=300)
@given(valid.filter(long_known))
def test_pieces_equal_the_librarys(s):
    tokenizers = pytest.importorskip('tokenizers')
    assert [_spell(p) for p in _bpe_re().findall(s)] == [p for p, _ in tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(s)]


BPE = BPETokenizer.train(['xxbos xxbos xxmaj very very', 'the film the film', 'Tiếng Việt']*3, 320)

@settings(deadline=None, max_examples=300)
@given(valid)
@example('xxbos xxmaj the film')
def test_byte_pairs_come_back(s):
    tokens = BPE(s)
    assert BPE.detokenise(tokens) == s and tokens[0] == BOS and not set(tokens[1:]) & set(SPECIALS) and all(t in BPE.vocab for t in set(tokens))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.text('abc', min_size=1, max_size=10), st.integers(1, 5), min_size=1, max_size=5), st.integers(3, 20), st.text('abc', max_size=30))
def test_the_heap_equals_the_book(counts, n_tokens, word):
    merges, tokens = train_merges(Counter(counts), n_tokens), list(word)
    if len(set(map(''.join, merges))) < len(merges): return  # a token with two spellings: then the order of merges is a matter of definition
    rank = {m: i for i, m in enumerate(merges)}
    while known := [p for p in zip(tokens, tokens[1:]) if p in rank]:
        best = min(known, key=rank.get)
        tokens = _merge(tokens, best, ''.join(best))
    assert _bpe_word(word, rank) == tokens


def test_training_recounted():
    rng = random.Random(0)
    counts = Counter({''.join(rng.choices('abcd', k=rng.randint(1, 9))): rng.randint(1, 5) for _ in range(60)})
    tokens, words, merges = list('abcd'), [(list(w), n) for w, n in counts.items()], []
    for _ in range(20):
        pairs = Counter()
        for w, n in words:
            for p in zip(w, w[1:]): pairs[p] += n
        best = min(pairs, key=lambda p: (-pairs[p], *map(tokens.index, p)))
        merges.append(best)
        if ''.join(best) not in tokens: tokens.append(''.join(best))
        words = [(_merge(w, best, ''.join(best)), n) for w, n in words]
    assert train_merges(counts, len(tokens))[:len(merges)] == merges


def test_byte_pair_odds_and_ends(tmp_path):
    assert len(set(_byte_chars().values())) == 256 and _spell(' é\n') == 'ĠÃ©Ċ'
    assert BPE.detokenise(['Ã', 'a', PAD]) == '\ufffda' and BPE('') == [BOS] and BPE.detokenise([]) == ''
    assert len(BPE.vocab) == len(SPECIALS) + len(set(map(''.join, BPE.merges)) - set(SPECIALS)) + 256 and BPE.vocab.itos[:10] == SPECIALS
    again = BPETokenizer.load(BPE.save(tmp_path/'bpe.json'))
    assert again.merges == BPE.merges and again('the film') == BPE('the film') == pickle.loads(pickle.dumps(BPE))('the film')
    with pytest.raises(ValueError, match='no byte-pair tokenizer'): BPETokenizer.load(Vocab([UNK]).save(tmp_path/'v.json'))
    with pytest.raises(ValueError, match='half a surrogate pair at position 2'): BPE('ab\udfff')
    with pytest.raises(ValueError, match='n_tokens must be at least 256'): BPETokenizer.train(['a'], 100)
    with pytest.raises(TypeError, match='texts is a string'): BPETokenizer.train('a text')
    assert BPETokenizer.train(['É']*5, 300, rules=[lambda s: unicodedata.normalize('NFD', s)], bos=False)('É') == ['E', 'Ìģ']
    long = ''.join(random.Random(0).choices('aeinst', k=100_000))
    assert BPE.detokenise(BPE(long)) == long


# The stream of a language model

docs_st = st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(lambda ls: sum(ls) > 8)

@settings(deadline=None, max_examples=300)
@given(docs_st, st.integers(1, 5), st.integers(1, 20), st.booleans(), st.booleans(), st.integers(0, 99), st.integers(0, 3))
def test_stream(sizes, bs, bptt, shuffle, vary, seed, epoch):
    docs = [[1000*i + k for k in range(n)] for i, n in enumerate(sizes)]
    if (sum(sizes) - 1)//bs < 1: return
    dl = LMDataLoader(docs, bs, bptt, shuffle=shuffle, vary=vary, seed=seed)
    dl.set_epoch(epoch)
    batches = list(dl)
    assert dl.epoch == epoch + 1 and len(batches) == len(dl) and all(x.dtype == y.dtype == torch.int64 and x.shape == y.shape and x.shape[0] == bs and x.shape[1] > 0 for x, y in batches)
    for (_, y0), (x1, _) in zip(batches, batches[1:]): assert torch.equal(y0[:, -1], x1[:, 0])
    xs, ys = (torch.cat(b, 1).flatten() for b in zip(*batches))
    assert torch.equal(xs[1:], ys[:-1]) and 1 <= sum(sizes) - len(xs) <= bs and len(set(xs.tolist())) == len(xs)
    order = list(dict.fromkeys(t//1000 for t in [*xs.tolist(), ys[-1].item()]))
    assert [t for i in order for t in docs[i]][:len(xs) + 1] == [*xs.tolist(), ys[-1].item()]  # whole documents, in some order
    if not shuffle: assert order == sorted(order)
    if not vary: assert all(x.shape[1] == bptt for x, _ in batches[:-1])
    for start in (0, 1, len(dl) - 1, len(dl)):
        dl.set_epoch(epoch)
        assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(dl.iter_from(start), batches[start:], strict=True))


def test_epochs_and_seeds():
    docs = [[i]*3 for i in range(500)]
    passes = lambda seed: [torch.cat([x for x, _ in dl], 1) for dl in [LMDataLoader(docs, 4, 20, seed=seed)] for _ in range(2)]
    (a, b), (c, d), (e, _) = passes(1), passes(1), passes(2)
    assert torch.equal(a, c) and torch.equal(b, d) and not torch.equal(a, b) and not torch.equal(a, e)
    dl = LMDataLoader(docs, 4, 20, seed=1)
    assert [x.shape[1] for x, _ in dl] != [x.shape[1] for x, _ in dl]
    assert all(torch.equal(p, q) for p, q in zip(dl.one_batch(), next(iter(dl)))) and dl.epoch == 3
    before = torch.get_rng_state()
    list(dl)
    assert torch.equal(before, torch.get_rng_state())
    set_seed(3); f = LMDataLoader(docs, 4).seed
    set_seed(3); assert LMDataLoader(docs, 4).seed == f


def test_widths_are_those_of_the_paper():
    dl = LMDataLoader([range(600_000)], 2, 70, seed=0)
    widths = torch.tensor([x.shape[1] for x, _ in dl]).double()
    half = widths < 52
    assert 0.035 < half.double().mean() < 0.065
    assert abs(widths[~half].mean() - 70) < 1 and abs(widths[half].mean() - 35) < 1.5 and 4.5 < widths[~half].std() < 5.5
    assert all(x.shape[1] > 0 for x, _ in LMDataLoader([range(100)], 2, 1, seed=0))


def test_a_batch_is_a_copy():
    dl = LMDataLoader([range(40)], 1, 100, shuffle=False, vary=False)
    x, _ = dl.one_batch()
    x.zero_()
    assert dl.one_batch()[0].tolist() == [[*range(39)]] and dl.one_batch()[0].is_contiguous()


def test_stream_refuses():
    for f, err, msg in [(lambda: LMDataLoader([[1, 2]], 4), ValueError, 'do not fill 4 rows'), (lambda: LMDataLoader([], 1), ValueError, '0 tokens in 0 documents'),
                        (lambda: LMDataLoader([['a', 'b']], 1), TypeError, 'document 0'), (lambda: LMDataLoader([[1], torch.rand(3)], 1), TypeError, 'document 1'),
                        (lambda: LMDataLoader(['text'], 1), TypeError, 'document 0'), (lambda: LMDataLoader([[[1]]], 1), TypeError, 'document 0'),
                        (lambda: LMDataLoader([range(9)], 0), ValueError, 'batch_size'), (lambda: LMDataLoader([range(9)], 1, 0), ValueError, 'bptt'),
                        (lambda: LMDataLoader([range(9)], 1).iter_from(-1), ValueError, 'batch must be')]:
        with pytest.raises(err, match=msg): f()
    dl = LMDataLoader([np.arange(5), torch.arange(4, dtype=torch.int32), [], range(3)], 2, 3, seed=0, vocab='v')
    assert '2 rows and about 3 columns' in repr(dl) and '12 tokens of 4 documents' in repr(dl) and dl.vocab == 'v' and dl.to('cpu') is dl and dl.device.type == 'cpu'
    assert dl.to('meta').device.type == 'meta'
    other = LMDataLoader([range(12)], 2, 3, seed=9)
    other.load_state_dict(dict(seed=4, epoch=2))
    assert other.state_dict() == dict(seed=4, epoch=2)


@pytest.mark.parametrize('at', [(0, 5), (1, 7)])
def test_resume_in_the_middle_of_an_epoch(tmp_path, at):
    from mylib.checkpoint import CheckpointCB
    from mylib.learner import Callback, Learner
    from mylib.losses import cross_entropy

    class InterruptCB(Callback):
        def before_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == at: raise KeyboardInterrupt

    docs = [torch.randint(20, (n,), generator=torch.Generator().manual_seed(n)) for n in range(1, 60)]
    def fit(*cbs, seed=1):
        set_seed(seed)
        dls = DataLoaders(LMDataLoader(docs, 8, 12, seed=seed), LMDataLoader(docs[:20], 8, 12, shuffle=False, vary=False))
        model = nn.Sequential(nn.Embedding(20, 8), nn.Dropout(0.2), nn.Linear(8, 20))
        learn = Learner(model, dls, lambda p, t: cross_entropy(p.flatten(0, 1), t.flatten()), 0.1, opt_func=lambda p, lr: torch.optim.AdamW(p, lr=lr))
        with learn.no_progress(): learn.fit(3, cbs=list(cbs))
        return learn

    whole = fit()
    with pytest.raises(KeyboardInterrupt): fit(CheckpointCB(tmp_path, every=3), InterruptCB())
    resumed = fit(CheckpointCB(tmp_path, every=3, resume=True))
    assert resumed.recorder.losses == whole.recorder.losses
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters()))


# Classification

@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(1, 20), st.integers(1, 5), st.integers(0, 99), st.integers(0, 3))
@example([*range(41)], 10, 2, 0, 0)
@example([*range(41)], 10, 2, 1, 0)
@example([*range(21)], 10, 2, 3, 2)
def test_sortish(lengths, bs, pool, seed, epoch):
    s = SortishSampler(lengths, bs, seed, pool)
    s.set_epoch(epoch)
    order = list(s)
    assert sorted(order) == list(range(len(lengths))) and order == list(s) and len(s) == len(lengths)
    batches = [order[i:i + bs] for i in range(0, len(order), bs)]
    assert all(lengths[a] >= lengths[b] for batch in batches for a, b in zip(batch, batch[1:]))
    if len(lengths) >= bs: assert lengths[order[0]] == max(lengths)
    same = SortishSampler(lengths, bs, seed, pool); same.set_epoch(epoch)
    assert list(same) == order
    for k in range(20 if len(lengths) % bs else 0):
        same.set_epoch(k)
        if len(lengths) >= bs: assert lengths[next(iter(same))] == max(lengths)


def test_sortish_shuffles_and_saves():
    lengths = torch.randint(5, 200, (5000,), generator=torch.Generator().manual_seed(0)).tolist()
    s = SortishSampler(lengths, 32, seed=0)
    dl = DataLoader(lengths, 32, sampler=s, seed=0)
    waste = lambda batches: np.mean([1 - b.double().mean()/b.max() for b in batches])
    a, b = list(dl), list(dl)
    assert waste(a) < 0.06 and len(a) == 157 and not torch.equal(a[1], b[1])
    firsts = [x.max().item() for x in a[1:]]
    assert firsts != sorted(firsts) and firsts != sorted(firsts, reverse=True) and np.corrcoef(np.arange(len(firsts)), firsts)[0, 1] < 0.3
    s.set_epoch(0); one = set(map(frozenset, np.array(list(s))[:4992].reshape(-1, 32).tolist()))
    s.set_epoch(1); two = set(map(frozenset, np.array(list(s))[:4992].reshape(-1, 32).tolist()))
    assert len(one & two) < 5  # other companions, too
    single = SortishSampler(range(100), 10, seed=0)  # one pool, so the batches are the same and their order is not
    assert len({tuple(single) for k in range(5) if single.set_epoch(k) is None}) == 5
    assert list(SortishSampler(lengths, 32, seed=1)) != list(SortishSampler(lengths, 32, seed=2))
    assert SortishSampler(lengths, 32, seed=1).pool == 50 and 'batch_size=32' in repr(s)
    for bad in ([], [[1], [2]]):
        with pytest.raises(ValueError, match='lengths must be'): SortishSampler(bad)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(2, 99), max_size=6), min_size=1, max_size=6), st.booleans(), st.integers(0, 1))
def test_pad_collate(docs, first, pad):
    x, n, y = pad_collate([(d, i) for i, d in enumerate(docs)], pad=pad, first=first, lengths=True)
    t = max(1, *map(len, docs))
    assert x.dtype == y.dtype == n.dtype == torch.int64 and x.tolist() == [[pad]*(t - len(d)) + d if first else d + [pad]*(t - len(d)) for d in docs]
    assert n.tolist() == [len(d) for d in docs] and y.tolist() == list(range(len(docs)))


def test_pad_collate_defaults_and_errors():
    x, y = pad_collate([(torch.tensor([5]), 0), ([7, 8], 1)])
    assert x.tolist() == [[SPECIALS.index(PAD), 5], [7, 8]] and y.tolist() == [0, 1]
    with pytest.raises(TypeError, match='document 1'): pad_collate([([1], 0), (['a'], 0)])
    assert pad_collate([([1], 0.5)])[1].dtype == torch.float32


def test_special_tokens_are_fastais():
    assert SPECIALS[:9] == 'xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj'.split()  # and in fastai's order
    assert [*_words([TK_WREP, '3', TK_REP, '4', TK_UP, 'no', 'x'])] == ['NOOOO']*3 + ['x']


def test_words_of_spacy():
    spacy = pytest.importorskip('spacy')
    nlp = spacy.blank('en').tokenizer
    texts = reviews().query("domain == 'movies'").text[:2000]
    same = sum([w for w in _words(plain(s)[1:])] == [t.text for t in nlp(s) if not t.text.isspace()] for s in texts)
    assert same > 0.9*len(texts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_cuda():
    dl = LMDataLoader([range(i, i + 9) for i in range(50)], 4, 7, seed=0)
    here = list(dl)
    dl.to('cuda').set_epoch(0)
    assert all(x.is_cuda and torch.equal(x.cpu(), a) and torch.equal(y.cpu(), b) for (x, y), (a, b) in zip(dl, here, strict=True))
