"`mylib.ulmfit`: rows matched by token, pooling that does not see padding, stages through files, unfreezing in turn, explanations against finite differences."
import math
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from fastcore.test import expect_fail
from hypothesis import given
from hypothesis import strategies as st
from mylib import train
from mylib.awd_lstm import AWDLSTM
from mylib.checkpoint import CheckpointError, load_state, save_state
from mylib.core import set_seed
from mylib.learner import Callback, Learner
from mylib.lm import generate, language_model_learner, lm_dataloaders, perplexity
from mylib.text import BOS, PAD, SPECIALS, UNK, BPETokenizer, Vocab, WordTokenizer, fix_html, nfc, pad_collate
from mylib.transfer import _groups
from mylib.ulmfit import (LabelledTexts, TextClassifier, TextEnsemble, TextLearner, adopt, classifier_dataloaders, classifier_parts, concat_pool, label_loss, lm_parts, load_stage,
                          match_rows, plot_explanation, save_stage, text_classifier_learner, train_reviews)
from torch import nn
from torch.testing import assert_close

seeds = st.integers(0, 9999)
tokens = st.lists(st.sampled_from('abcdefghij'), unique=True, max_size=10)
GOOD, BAD = 'a fine film , warm and funny', 'a dull film , long and empty'
TEXTS = [GOOD, BAD, 'funny and warm', 'empty and dull', 'a warm long film', 'long empty film , dull'] * 4
LABELS = [1, 0, 1, 0, 1, 0] * 4
CONFIG = dict(emb_size=6, n_hid=8, n_layers=2)


def lm(texts=TEXTS, backwards=False, seed=0, tok=None, vocab=None, **config):
    set_seed(seed)
    dls = lm_dataloaders(texts, texts, tok, vocab, batch_size=4, bptt=5, min_count=1, seed=seed, backwards=backwards)
    return language_model_learner(dls, 1., CONFIG | config, device='cpu')


def classifier(source=None, seed=0, n=24, **kwargs):
    source = source or lm()
    back = source.dls.backwards
    dls = classifier_dataloaders(TEXTS[:n], LABELS[:n], TEXTS, LABELS, source.dls.vocab, batch_size=8, seed=seed, backwards=back)
    set_seed(seed)
    learn = text_classifier_learner(dls, source, device='cpu', **kwargs)
    nn.init.normal_(learn.model.head[-1].weight)
    return learn


def quiet(learn, method, *args, **kwargs):
    with learn.no_progress(): return getattr(learn, method)(*args, **kwargs)


# Vocabularies

@given(tokens, tokens, st.integers(0, 2), seeds)
def test_match_rows_by_a_loop(a, b, ndim, seed):
    old, new = Vocab([UNK, *a]), Vocab([*b, UNK])
    w = torch.randn(len(old), *[3, 2][:ndim], generator=torch.Generator().manual_seed(seed))
    got = match_rows(w, old, new)
    for t, row in zip(new.itos, got, strict=True):
        if t in old: assert torch.equal(row, w[old.stoi[t]])
        else: assert_close(row, sum(w)/len(w))
    assert torch.equal(match_rows(w, old, old), w)
    assert got.dtype == w.dtype and got.data_ptr() != w.data_ptr()


def test_match_rows_wants_the_right_vocabulary():
    with expect_fail(ValueError, 'weight has 3 rows, but the old vocabulary has 1 tokens'): match_rows(torch.zeros(3, 2), Vocab([UNK]), Vocab([UNK]))


def test_adopt_gives_the_same_scores_and_leaves_the_source_alone():
    source, learn = lm(seed=1), lm(TEXTS + ['new words here'], seed=2)
    nn.init.normal_(source.model.decoder.bias)
    before = {k: v.clone() for k, v in source.model.state_dict().items()}
    quiet(learn, 'fit', 1)
    assert learn.opt is not None
    added = adopt(learn, source)
    assert set(added) == {'new', 'words', 'here'} and learn.opt is None
    assert learn.model.decoder.weight is learn.model.encoder.encoder.emb.weight
    both, text = source.dls.vocab.itos, [BOS, 'a', 'dull', 'film']
    out = []
    for l in (source, learn):
        l.model.eval().reset()
        with torch.no_grad(): out.append(l.model(l.dls.vocab.numericalise(text)[None])[..., l.dls.vocab.numericalise(both)])
    assert_close(*out)
    assert_close(learn.model.decoder.bias[learn.dls.vocab.stoi['new']], source.model.decoder.bias.mean())
    quiet(learn, 'fit', 1)
    assert all(torch.equal(v, before[k]) for k, v in source.model.state_dict().items())


def test_adopt_untied():
    source, learn = lm(seed=1, tie=False), lm(TEXTS + ['new'], seed=2, tie=False)
    adopt(learn, source)
    rows = learn.dls.vocab.numericalise(source.dls.vocab.itos)
    for a, b in ((learn.model.decoder, source.model.decoder), (learn.model.encoder.encoder.emb, source.model.encoder.encoder.emb)): assert torch.equal(a.weight[rows], b.weight)


@pytest.mark.parametrize('other,said', [(dict(emb_size=4), 'emb.weight'), (dict(n_hid=4), 'rnns.0.module.weight_ih_l0: (32, 6) there, (16, 6) here'),
                                        (dict(n_layers=1), 'missing here'), (dict(n_layers=3), 'missing there'), (dict(backwards=True), 'reads forwards'),
                                        (dict(bias=False), 'decoder.bias')])
def test_adopt_errors(other, said):
    learn = lm(seed=3, **other)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    with expect_fail(ValueError, said): adopt(learn, lm())
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())


def test_lm_parts_are_groups():
    learn = lm()
    learn.split(lm_parts)
    groups = _groups(learn.model, lm_parts)
    assert len(groups) == 3 and learn.model.decoder.weight is groups[2][0] and learn.model.encoder.rnns[0].module.weight_ih_l0 is groups[0][0]
    learn.freeze()
    before = [[p.clone() for p in g] for g in groups]
    quiet(learn, 'fit', 1, 1e-2)
    assert [all(torch.equal(p, q) for p, q in zip(g, h)) for g, h in zip(groups, before)] == [True, True, False]


# Pooling and the model

@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 3), seeds)
def test_concat_pool_row_by_row(lengths, d, more, seed):
    g, t = torch.Generator().manual_seed(seed), max(lengths) + more
    x, mask = torch.randn(len(lengths), t, d, generator=g), torch.arange(t) < torch.tensor(lengths)[:, None]
    x[~mask] = math.nan
    want = torch.stack([torch.cat([r[n - 1], r[:n].max(0).values, r[:n].sum(0)/n]) for r, n in zip(x, lengths)])
    assert_close(concat_pool(x, mask), want)


def test_concat_pool_gradient_stays_off_the_padding():
    x, mask = torch.randn(2, 4, 3, requires_grad=True), torch.tensor([[True]*2 + [False]*2, [True]*4])
    concat_pool(x, mask).sum().backward()
    assert not x.grad[0, 2:].any() and x.grad.isfinite().all() and x.grad[0, 0].all()


@given(st.lists(st.integers(0, 20), min_size=2, max_size=5), st.integers(1, 9), st.integers(0, 4), seeds)
def test_padding_neighbours_order_and_pieces_do_not_matter(lengths, bptt, more, seed):
    torch.manual_seed(seed)
    model = TextClassifier(AWDLSTM(30, 4, 6, 2), 3, hidden=5, bptt=50).double().eval()
    nn.init.normal_(model.head[-1].weight)
    docs = [torch.randint(2, 30, (n,)) for n in lengths]
    x = pad_collate([(d, 0) for d in docs], first=False)[0]
    with torch.no_grad():
        want = model(x)
        for d, row in zip(docs, want): assert_close(model(d[None] if len(d) else torch.ones(1, 1).long())[0], row)
        assert_close(model(nn.functional.pad(x, (0, more), value=1)), want)
        assert_close(model(x.flip(0)).flip(0), want)
        model.bptt = bptt
        assert_close(model(x), want)
    assert model.encoder.state is None


def test_begins_undecided_and_forgets_state():
    model = TextClassifier(AWDLSTM(30, 4, 6, 1), 3).eval()
    assert torch.equal(model(torch.randint(2, 30, (2, 5))), torch.zeros(2, 3))
    model.encoder(torch.randint(2, 30, (7, 5)))
    assert model(torch.randint(2, 30, (2, 5))).shape == (2, 3)


def test_gradient_reaches_every_parameter_and_ends_at_a_piece():
    model = TextClassifier(AWDLSTM(30, 4, 6, 2, hidden_p=0., input_p=0., embed_p=0., weight_p=0.), 2, bptt=3, head_p=0., output_p=0.)
    nn.init.normal_(model.head[-1].weight)
    ids = torch.randint(2, 30, (4, 8))
    model(ids).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in model.named_parameters() if 'head.2.bias' not in n)
    model.train().encoder.reset()
    x = torch.cat([model.encoder(p) for p in ids.split(3, 1)], 1)
    g, = torch.autograd.grad(x[:, -1].sum(), model.encoder.encoder.emb.weight)
    assert {*g.any(1).nonzero()[:, 0].tolist()} <= {*ids[:, 6:].flatten().tolist()}


def test_padding_in_front_is_refused():
    model = TextClassifier(AWDLSTM(30, 4, 6, 1)).eval()
    with expect_fail(ValueError, 'a word stands behind padding'): model(torch.tensor([[1, 5, 6]]))
    with expect_fail(ValueError, 'a word stands behind padding'): model(torch.tensor([[5, 1, 6]]))
    with expect_fail(ValueError, 'head_p is the share'): TextClassifier(AWDLSTM(30, 4, 6, 1), head_p=2.)
    with expect_fail(ValueError, 'bptt must be at least 1'): TextClassifier(AWDLSTM(30, 4, 6, 1), bptt=0)


# Loaders and Learner

def test_loaders_pad_at_the_end_and_keep_labels_with_texts():
    words = lm().dls.vocab
    for back in (False, True):
        dls = classifier_dataloaders(TEXTS, LABELS, TEXTS, LABELS, words, batch_size=5, seed=1, backwards=back)
        seen = []
        for x, y in dls.train:
            for row, label in zip(x.tolist(), y.tolist()):
                text = [words[i] for i in row if i != words.stoi[PAD]]
                assert text[0] == BOS and row[len(text):] == [words.stoi[PAD]]*(len(row) - len(text))
                seen.append((' '.join(text[1:] if not back else text[:0:-1]), label))
        assert sorted(seen) == sorted(zip(TEXTS, LABELS))
        assert dls.vocab == ['negative', 'positive'] and dls.backwards == back
    one_left = classifier_dataloaders(TEXTS[:9], LABELS[:9], None, None, words, batch_size=8)
    assert [len(x) for x, _ in one_left.train] == [8] and one_left.valid is None


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6), seeds)
def test_label_loss(p, seed):
    torch.manual_seed(seed)
    p, z = torch.tensor(p), torch.randn(len(p), 2)
    assert_close(label_loss(z, p), nn.functional.binary_cross_entropy_with_logits(z[:, 1] - z[:, 0], p))
    y = (p > 0.5).long()
    assert_close(label_loss(z, y), label_loss(z, y.float()))
    assert label_loss.activation(z).sum().item() == pytest.approx(len(p))
    with expect_fail(ValueError, 'second of two classes'): label_loss(torch.zeros(len(p), 3), p)


def test_labels_as_probabilities():
    source = lm()
    dls = classifier_dataloaders(TEXTS, [0.1 + 0.8*y for y in LABELS], TEXTS, LABELS, source.dls.vocab, batch_size=8)
    assert dls.one_batch()[1].dtype == torch.float32 and next(iter(dls.valid))[1].dtype == torch.int64
    learn = text_classifier_learner(dls, source, device='cpu')
    table = quiet(learn, 'unfreeze_gradually', 1)
    assert table.train_loss.notna().all() and table.accuracy.notna().all()
    for labels, vocab in (([0.5, 1.5], 'ab'), ([0.5, 1], 'abc'), ([float('nan'), 1.], 'ab')):
        with expect_fail(ValueError, 'labels are floats'): LabelledTexts([torch.tensor([2])]*2, labels, vocab)


def test_loader_errors():
    words = lm().dls.vocab
    with expect_fail(ValueError, '2 texts but 1 labels'): classifier_dataloaders(TEXTS[:2], [0], None, None, words)
    with expect_fail(ValueError, 'found [5]'): LabelledTexts([torch.tensor([2])], [5])
    with expect_fail(TypeError, 'train_texts is one str'): classifier_dataloaders(GOOD, [0], None, None, words)


def test_learner_takes_the_encoder_over_and_checks_it():
    source = lm()
    learn = classifier(source, drop_mult=0.)
    for a, b in zip(learn.model.encoder.parameters(), source.model.encoder.parameters()): assert torch.equal(a, b) and a is not b
    assert learn.model.encoder.rnns[0].weight_p == 0 and text_classifier_learner(learn.dls, source, 0.5).model.encoder.rnns[1].weight_p == 0.25
    other = lm(TEXTS + ['more'])
    with expect_fail(ValueError, 'make the loaders with words=source.dls.vocab'): text_classifier_learner(learn.dls, other)
    with expect_fail(ValueError, 'read in different directions'): text_classifier_learner(learn.dls, lm(backwards=True))
    with expect_fail(TypeError, 'with a LanguageModel, not with a TextClassifier'): text_classifier_learner(learn.dls, SimpleNamespace(model=learn.model, dls=source.dls))


def test_it_learns():
    learn = classifier(drop_mult=0.1, n=24)
    table = quiet(learn, 'unfreeze_gradually', 30, 5e-2, factor=1.)
    assert list(table.parts) == [1, 2, 3] + [4]*30 and table.accuracy.iloc[-1] == 1
    assert learn.predict(GOOD)[0] == 'positive' and learn.predict(BAD)[0] == 'negative'


@pytest.mark.parametrize('epochs_each,phases', [(0, [4]), (1, [1, 2, 3, 4]), (2, [1, 1, 2, 2, 3, 3, 4])])
def test_unfreezing_in_turn(epochs_each, phases):
    class Watch(Callback):
        def after_fit(self, learn):
            moved.append([any(not torch.equal(a, b) for a, b in zip(g, h)) for g, h in zip(groups, before)])
            tops.append([max(r) for r in learn.recorder.sched['lr']])
    learn, moved, tops = classifier(), [], []
    groups = _groups(learn.model, classifier_parts)
    before = [[p.clone() for p in g] for g in groups]
    table = quiet(learn, 'unfreeze_gradually', 1, 1e-2, epochs_each, factor=3., cbs=Watch(), div=1.)
    assert list(table.parts) == phases
    assert moved == [[False]*(4 - k) + [True]*k for k in dict.fromkeys(phases)]
    for t in tops: assert_close(t, [1e-2/27, 1e-2/9, 1e-2/3, 1e-2])
    with expect_fail(ValueError, 'factor divides'): learn.unfreeze_gradually(1, factor=0.5)
    with expect_fail(ValueError, 'n_epoch must be'): learn.unfreeze_gradually(0)
    learn.splitter = None
    with expect_fail(ValueError, 'name its parts first'): learn.unfreeze_gradually(1)


@pytest.mark.parametrize('back', [False, True])
def test_predict_text_is_predict_of_its_numbers(back):
    learn = classifier(lm(backwards=back))
    ids = learn.dls.words.numericalise([BOS, 'a', 'dull', 'film'] if not back else [BOS, 'film', 'dull', 'a'])
    label, i, probs = learn.predict('a dull film')
    assert torch.equal(probs, learn.predict(ids)[2]) and label == ['negative', 'positive'][i]
    with torch.no_grad(): assert_close(probs, learn.model.eval()(ids[None]).softmax(1)[0])
    assert learn.predict('')[2].shape == (2,) and learn.predict('qqq zzz')[2].sum().item() == pytest.approx(1)
    with expect_fail(TypeError, 'text must be a string'): learn.explain(['a', 'dull'])


def test_ensemble_is_the_mean():
    a, b = classifier(seed=1), classifier(lm(backwards=True), seed=2)
    pair = TextEnsemble([a, b])
    (p, y), (q, _) = a.get_preds(), b.get_preds()
    assert_close(pair.get_preds()[0], (p + q)/2)
    assert torch.equal(pair.get_preds()[1], y)
    assert_close(pair.predict(GOOD)[2], (a.predict(GOOD)[2] + b.predict(GOOD)[2])/2)
    for (t, s), (_, x), (_, z) in zip(pair.explain(GOOD, 1), a.explain(GOOD, 1), b.explain(GOOD, 1), strict=True): assert s == pytest.approx((x + z)/2) and t
    b.dls = classifier_dataloaders(TEXTS, LABELS, TEXTS, [1 - y for y in LABELS], b.dls.words, backwards=True)
    with expect_fail(ValueError, 'validate on different texts'): pair.get_preds()
    b.dls = classifier_dataloaders(TEXTS, LABELS, TEXTS, LABELS, b.dls.words, vocab=('bad', 'good'), backwards=True)
    with expect_fail(ValueError, 'same classes'): TextEnsemble([a, b])
    with expect_fail(ValueError, 'no learner'): TextEnsemble([])


# Explanations

@pytest.mark.parametrize('back', [False, True])
def test_explain_is_the_derivative_of_stretching(back):
    learn = classifier(lm(backwards=back))
    learn.model.double()
    tokens, pairs = learn.tokens(GOOD), learn.explain(GOOD, 1)
    assert [t for t, _ in pairs] == WordTokenizer()(GOOD)
    ids = learn.dls.words.numericalise(tokens)[None]
    def score(k, eps):
        factor = torch.ones(len(tokens), 1).double()
        factor[k] += eps
        h = learn.model.encoder.encoder.register_forward_hook(lambda m, a, out: out*factor)
        try:
            with torch.no_grad(): return learn.model.eval()(ids)[0] @ torch.tensor([-1., 1.]).double()
        finally: h.remove()
    slopes = [((score(k, 1e-5) - score(k, -1e-5))/2e-5).item() for k in range(len(tokens))]
    want = [slopes[0], *slopes[:0:-1]] if back else slopes
    assert_close([s for _, s in pairs], want, rtol=1e-4, atol=1e-7)


def test_explain_leaves_no_trace():
    learn = classifier()
    learn.model.train()
    learn.freeze()
    flags, hooks = [p.requires_grad for p in learn.model.parameters()], len(learn.model.encoder.encoder._forward_hooks)
    a = learn.explain(GOOD)
    assert learn.model.training and [p.requires_grad for p in learn.model.parameters()] == flags
    assert len(learn.model.encoder.encoder._forward_hooks) == hooks and all(p.grad is None for p in learn.model.parameters())
    i = learn.predict(GOOD)[1]
    assert_close([s for _, s in a], [s for _, s in learn.explain(GOOD, i)])
    assert_close([s for _, s in learn.explain(GOOD, 0)], [-s for _, s in learn.explain(GOOD, 1)])
    with torch.no_grad(): assert_close([s for _, s in learn.explain(GOOD)], [s for _, s in a])


def test_plot_explanation():
    ax = plot_explanation([('a', 1.), ('$5', -0.5)], 'title')
    assert [p.get_height() for p in ax.patches] == [1., -0.5] and len(ax.get_xticklabels()) == 2
    ax.figure.canvas.draw()


# Stages in files

def test_language_model_through_a_file(tmp_path):
    for config in ({}, dict(tie=False), dict(bias=False), dict(n_layers=1)):
        learn = lm(**config)
        back = load_stage(save_stage(learn, tmp_path/'sub'/'stage'), device='cpu')
        assert {k: v.shape for k, v in back.model.state_dict().items()} == {k: v.shape for k, v in learn.model.state_dict().items()}
        for k, v in learn.model.state_dict().items(): assert torch.equal(v, back.model.state_dict()[k])
        assert (back.model.decoder.weight is back.model.encoder.encoder.emb.weight) == (learn.model.decoder.weight is learn.model.encoder.encoder.emb.weight)
        assert str(back.model) == str(learn.model) and back.dls.vocab == learn.dls.vocab
        assert generate(back, 'a', 8, seed=1) == generate(learn, 'a', 8, seed=1)
        assert perplexity(back, learn.dls.valid) == perplexity(learn)
        again = lm(seed=9, **config)
        adopt(again, back)
        assert perplexity(again) == perplexity(learn)


def test_a_loaded_language_model_can_be_trained(tmp_path):
    learn, loaded = lm(), load_stage(save_stage(lm(), tmp_path/'stage'), device='cpu')
    loaded.dls = learn.dls
    quiet(loaded, 'fit', 1, 1e-2)
    assert len(loaded.recorder.losses) == len(learn.dls.train)


@pytest.mark.parametrize('back', [False, True])
def test_classifier_through_a_file(tmp_path, back):
    learn = classifier(lm(backwards=back))
    loaded = load_stage(save_stage(learn, tmp_path/'stage'), device='cpu')
    assert str(loaded.model) == str(learn.model) and isinstance(loaded, TextLearner)
    assert torch.equal(loaded.predict(GOOD)[2], learn.predict(GOOD)[2]) and loaded.predict(GOOD)[0] == learn.predict(GOOD)[0]
    assert loaded.explain(GOOD) == learn.explain(GOOD)
    loaded.dls = learn.dls
    assert loaded.validate() == learn.validate()
    quiet(loaded, 'unfreeze_gradually', 1)


def test_tokenizers_through_files(tmp_path):
    tok = WordTokenizer(rules=[fix_html, nfc], spaces=True)
    loaded = load_stage(save_stage(lm(tok=tok), tmp_path/'a'), device='cpu')
    assert repr(loaded.dls.tokenizer) == repr(tok)
    for k, own in enumerate((WordTokenizer(rules=[str.lower]), BPETokenizer([]))):
        learn = lm(tok=own, vocab=own.vocab if k else None)
        save_stage(learn, tmp_path/'b')
        with expect_fail(ValueError, 'a tokenizer that cannot be stored; give it as tokenizer='): load_stage(tmp_path/'b')
        assert load_stage(tmp_path/'b', own).dls.tokenizer is own


def test_files_that_are_no_stages(tmp_path):
    learn = lm()
    file = save_stage(learn, tmp_path/'stage')
    raw = bytearray(file.read_bytes())
    raw[-50] ^= 1
    (tmp_path/'flipped').write_bytes(raw)
    (tmp_path/'cut').write_bytes(file.read_bytes()[:-10])
    save_state(dict(a=1), tmp_path/'other')
    save_state([1], tmp_path/'list')
    learn.save(tmp_path/'weights')
    state = load_state(file)
    for name, change in dict(fewer_words=lambda s: s['stage']['words'].pop(), other_size=lambda s: s['encoder'].update(n_hid=4), lost=lambda s: s['weights'].pop('decoder.bias')).items():
        s = load_state(file)
        change(s)
        save_state(s, tmp_path/name)
    for name, kind, said in (('flipped', CheckpointError, 'checksum'), ('cut', CheckpointError, 'truncated'), ('other', ValueError, 'no stage'), ('list', ValueError, 'no stage'),
                             ('weights.safetensors', CheckpointError, 'no checkpoint of this course'), ('absent', FileNotFoundError, 'absent'),
                             ('fewer_words', ValueError, 'rows of the embedding'), ('other_size', ValueError, 'weight_ih_l0'), ('lost', ValueError, 'decoder.bias: missing there')):
        with expect_fail(kind, said): load_stage(tmp_path/name)
    assert state['stage']['kind'] == 'language model' and 'decoder.weight' not in state['weights']
    with expect_fail(TypeError, 'not with a Linear'): save_stage(Learner(nn.Linear(2, 2), (None, None), nn.functional.mse_loss), tmp_path/'x')


def test_special_tokens_keep_their_rows():
    assert not {*SPECIALS} & {*adopt(lm(), lm(['something else entirely, for once, and of some length']*3))}


# All stages

TINY = dict(seed=1, n_epoch=(1, 1, 1), max_size=200, config=dict(emb_size=6, n_hid=6), part=slice(8), device='cpu', progress=False)


def test_train_reviews_goes_on_from_the_stages_it_finds(tmp_path):
    first = train_reviews(tmp_path, **TINY)
    names = sorted(f.name for f in Path(tmp_path).iterdir())
    assert names == [f'{k}-{d}.safetensors' for k in ('1-wiki', '2-reviews', '3-classifier') for d in ('backward', 'forward')]
    times = {f.name: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    for gone in ('3-classifier-forward', '3-classifier-backward'): (tmp_path/f'{gone}.safetensors').unlink()
    again = train_reviews(tmp_path, **TINY)
    assert {k: v for k, v in times.items() if k[0] != '3'} == {f.name: f.stat().st_mtime_ns for f in tmp_path.iterdir() if f.name[0] != '3'}
    assert_close(again.get_preds()[0], first.get_preds()[0])
    one = train_reviews(None, both=False, **TINY)
    assert len(one.learners) == 1
    assert_close(one.get_preds()[0], first.learners[0].get_preds()[0])


def test_the_command(tmp_path):
    train.main(['text', '--trial', '6', '--epochs', '1', '1', '1', '--one-way', '--out', str(tmp_path)])
    report, = tmp_path.glob('2*')
    assert not (tmp_path/'checkpoint-text').exists()
    assert pd.read_csv(report/'metrics.csv').model.tolist() == ['forward']
    assert {'curves.png', 'explanation.png', 'mistakes.csv', 'forward.safetensors'} <= {f.name for f in report.iterdir()}
    assert load_stage(report/'forward.safetensors', device='cpu').predict('A dull film.')[0] in ('negative', 'positive')
    with expect_fail(SystemExit, 'lr must be a positive number'): train.main(['text', '--trial', '6', '--epochs', '1', '1', '1', '--lr', '-1', '--out', str(tmp_path)])
