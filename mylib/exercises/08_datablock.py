"Lesson 08: the data block."
import os, tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

from mylib.judge import case, entry


def tree(folder, names, backwards=False):
    "Empty files below a folder."
    for name in reversed(names.split()) if backwards else names.split():
        path = Path(folder)/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder

def below(found, folder): return [p.relative_to(folder).as_posix() for p in found]

NAMES = 'c.jpg a.JPG b.txt .hidden sub/d.jpg sub/deep/e.png sub/.f.jpg .git/g.jpg other/h.jpg holiday.jpg/i.txt'

def files(m, *args, names=NAMES, **kwargs):
    with tempfile.TemporaryDirectory() as d: return sorted(below(m.get_files(tree(d, names), *args, **kwargs), d))

def one_folder(m):
    with tempfile.TemporaryDirectory() as d: return below(m.get_files(tree(d, 'c.txt a.txt b.txt')), d)

def all_below(m): return files(m)
def one_extension(m): return files(m, '.jpg')
def without_dot(m): return files(m, 'JPG')
def several_extensions(m): return files(m, {'.png', '.TXT'})
def the_whole_ending(m): return files(m, 'jpg', names='a.jpg notajpg b.jpg.txt')
def no_subfolders(m): return files(m, recurse=False)
def one_subfolder(m): return files(m, folders='sub')
def its_own_files_too(m): return files(m, folders=['.', 'other'])
def only_the_top_is_chosen(m): return files(m, folders='a', names='a/b/1.txt a/2.txt b/a/3.txt b/4.txt')

def as_it_may_be_used(m):
    with tempfile.TemporaryDirectory() as d:
        found = m.get_files(tree(d, 'a.txt b.txt c/d.txt'))
        return dict(paths=all(isinstance(p, Path) for p in found), picked=below(found[[0, 2]], d), mapped=list(found.map(lambda p: p.name)), number=len(found))

def text_for_a_folder(m):
    with tempfile.TemporaryDirectory() as d: return below(m.get_files(str(tree(d, 'a.txt'))), d)

class Listing:
    "os.scandir, with its entries in an order that we choose."
    def __init__(self, path='.', scan=os.scandir, backwards=False):
        with scan(path) as entries: self.entries = iter(sorted(entries, key=lambda e: e.name, reverse=backwards))
    def __enter__(self): return self
    def __exit__(self, *args): pass
    def __iter__(self): return self.entries
    def __next__(self): return next(self.entries)
    def close(self): pass

def order_of_the_disk(m):
    res = []
    with tempfile.TemporaryDirectory() as d:
        tree(d, 'b/2.txt a/1.txt a/3.txt 0.txt a/b/4.txt')
        for backwards in (False, True):
            with patch('os.scandir', partial(Listing, backwards=backwards)): res.append(below(m.get_files(d), d))
    return res[0] == res[1]

def questions_to_the_system(m):
    with tempfile.TemporaryDirectory() as d:
        tree(d, ' '.join(f'{i}.txt' for i in range(60)))
        real, calls = os.stat, []
        with patch('os.stat', lambda *args, **kwargs: (calls.append(1), real(*args, **kwargs))[1]): n = len(m.get_files(d, '.txt'))
        return dict(files=n, fewer_than_files=len(calls) < 30)

def linked(m, links, names, **kwargs):
    "Files found and skipped, in a folder with links (name, target); None where the system makes no links."
    with tempfile.TemporaryDirectory() as d:
        tree(d, names)
        try:
            for name, target in links: os.symlink(os.path.join(d, target), os.path.join(d, name), target_is_directory=os.path.isdir(os.path.join(d, target)))
        except OSError: return None
        found = m.get_files(d, **kwargs)
        return dict(found=sorted(below(found, d)), skipped=[Path(p).name for p, why in found.skipped])

def up_again(m): return linked(m, [('sub/loop', '.')], 'a.txt sub/b.txt')
def twice(m):
    res = linked(m, [('z', 'sub')], 'a.txt sub/b.txt')
    return res and dict(number=len(res['found']), skipped=len(res['skipped']))
def to_nothing(m): return linked(m, [('gone.txt', 'nowhere.txt')], 'a.txt')
def to_a_file(m): return linked(m, [('again.txt', 'a.txt')], 'a.txt')
def not_followed(m):
    res = linked(m, [('inner/z', 'outer')], 'inner/a.txt outer/b.txt', folders='inner', followlinks=False)
    return res and res['found']
def followed(m):
    res = linked(m, [('inner/z', 'outer')], 'inner/a.txt outer/b.txt', folders='inner')
    return res and res['found']

def no_folder(m): m.get_files('no_such_folder')
def a_file(m):
    with tempfile.TemporaryDirectory() as d: m.get_files(Path(tree(d, 'a.txt'))/'a.txt')
def unknown_subfolder(m): files(m, folders='val', names='train/a.txt valid/b.txt')

@entry('08.1', level=3, minutes=35, hints=[
    'Go through the folders yourself with a list of those that are still to be read. What does `os.scandir` tell about an entry without a question to the system, and what has to be looked at for the top folder only?',
    'For each folder: entries that begin with a dot are passed over, folders go on the list, files are kept if the ending in lower case fits (`_suffixes` makes the tuple for `endswith`). Sort before you add. A set of `_identity` of the folders that were read keeps links from leading round in circles.',
    'Take folders from the end of the list, so add them sorted backwards. What was met and could not be used is a pair of path and reason: a folder that was read already, a link to nothing (`is_file` of the entry is false), an entry that could not be asked. `PathList(names, skipped)` is what you return. Refusals come first: path not there, path no folder, folders that path does not hold.'],
    why='Sorting within each folder makes a seed mean the same split on every machine, and is cheaper than sorting all paths. A folder is known by device and number and not by its name, because a link gives it a second name, and the same image would be in training and in validation.')
def get_files():
    at = (tree, below)
    return [case('the files of a folder, sorted', one_folder, also=at),
            case('subfolders are looked into, names with a leading dot are left out', all_below, also=(*at, files)),
            case('an extension, in any case; folders are no files', one_extension, also=(*at, files)),
            case('an extension without its dot', without_dot, also=(*at, files)),
            case('several extensions', several_extensions, also=(*at, files)),
            case('the extension is what follows the last dot', the_whole_ending, also=(*at, files)),
            case('recurse=False stays in the folder', no_subfolders, also=(*at, files)),
            case('folders names the subfolders to look into', one_subfolder, also=(*at, files)),
            case("'.' stands for the folder's own files", its_own_files_too, also=(*at, files)),
            case('folders chooses at the top, not further down', only_the_top_is_chosen, also=(*at, files)),
            case('an L of Paths, to be indexed with a list', as_it_may_be_used, also=at),
            case('the folder may be a text', text_for_a_folder, also=at),
            case('the order does not depend on the order in which the disk lists', order_of_the_disk, also=(*at, Listing)),
            case('the system is not asked about each file', questions_to_the_system, also=tree),
            case('a link back up is not followed round and round, and is listed in skipped', up_again, also=(*at, linked)),
            case('a folder with two names is read once', twice, also=(*at, linked)),
            case('a link to nothing is listed in skipped', to_nothing, also=(*at, linked)),
            case('a link to a file is a file', to_a_file, also=(*at, linked)),
            case('linked folders are followed', followed, also=(*at, linked)),
            case('followlinks=False leaves linked folders out', not_followed, also=(*at, linked)),
            case('a folder that is not there is refused', no_folder, raises=FileNotFoundError, names='no_such_folder'),
            case('a file in place of a folder is refused', a_file, raises=NotADirectoryError, names='a.txt', also=tree),
            case('an unknown subfolder is refused, with those that are there', unknown_subfolder, raises=FileNotFoundError, names=('val', 'train', 'valid'), also=(*at, files))]


def drawn(m, n=10, **kwargs): return [list(part) for part in m.RandomSplitter(**kwargs)(range(n))]

def shares(m): return {f'{pct} of {n}': [len(part) for part in drawn(m, n, valid_pct=pct, seed=0)] for n, pct in ((10, 0.2), (10, 0.25), (7, 0.5), (400, 0.2))}
def by_default(m): return [len(part) for part in drawn(m, 50)]
def nothing_lost(m): return sorted(sum(drawn(m, 10, seed=4), []))
def at_least_one(m): return [[len(part) for part in drawn(m, n, valid_pct=pct, seed=0)] for n, pct in ((3, 0.1), (2, 0.9), (2, 0.01))]

def every_item_now_and_then(m):
    "What is held out with one or another of sixty seeds."
    return sorted({i for seed in range(60) for i in drawn(m, 10, seed=seed)[1]})

def same_seed(m):
    split = m.RandomSplitter(0.3, seed=5)
    first, again, other = split(range(40)), split(range(40)), drawn(m, 40, valid_pct=0.3, seed=6)
    return dict(again_the_same=[list(p) for p in first] == [list(p) for p in again], another_seed_the_same=[list(p) for p in first] == other)

def global_generator(m):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    drawn(m, 40, seed=5)
    return dict(untouched=torch.equal(state, torch.get_rng_state()))

def without_a_seed(m):
    def two(): torch.manual_seed(3); return [sorted(drawn(m, 40)[1]) for _ in range(2)]
    a, b = two(), two()
    return dict(two_calls_differ=a[0] != a[1], follows_the_global_seed=a == b)

def any_items(m): return [len(p) for p in m.RandomSplitter(0.25, seed=0)(['a', 'b', 'c', 'd'])]
def percent(m): m.RandomSplitter(20)(range(10))
def one_item(m): m.RandomSplitter(0.2)(['a'])

@entry('08.2', level=1, minutes=10, hints=[
    'Shuffle the numbers of the items and cut the list. Which of the things that you need are helpers of the cell above?',
    '`_cut` tells how many are held out, and refuses what makes no sense; `_shuffled` gives the numbers in an order that a seed decides. Both want the number of items.',
    'One piece of the order is for validation, the other for training, and training comes first in what is returned. The order is drawn in `__call__`, once.'],
    why='The generator is its own, so a seed given here changes nobody else\'s random numbers, and a split stays what it is when a line that draws is added somewhere else. The order is drawn once and cut in two, so nothing can be on both sides.')
def random_splitter():
    return [case('the share valid_pct goes to validation, rounded down', shares, also=drawn),
            case('a fifth by default', by_default, also=drawn),
            case('each index is in one of the two, and in one alone', nothing_lost, also=drawn),
            case('validation has one item at least, and never all', at_least_one, also=drawn),
            case('every item is held out now and then', every_item_now_and_then, also=drawn),
            case('the same seed gives the same split, another one another', same_seed, also=drawn),
            case("with a seed, PyTorch's global generator is not touched", global_generator, also=drawn),
            case("without one, each call draws anew, from PyTorch's global generator", without_a_seed, also=drawn),
            case('only the number of items counts', any_items),
            case('a share of 20 is refused', percent, raises=ValueError, names='valid_pct'),
            case('a single item cannot be split', one_item, raises=ValueError)]


def people(*sizes):
    "Items of several people, each in a row: 'a0', 'a1', ..., 'b0', ..."
    return [f'{chr(97 + k)}{i}' for k, n in enumerate(sizes) for i in range(n)]

def person(o): return o[0]

def both_sides(m, items, seeds=20, **kwargs):
    "People that are in both splits, items that are lost or doubled, and how many are held out, over many seeds."
    out = dict(in_both=set(), lost=set(), held_out=set())
    for seed in range(seeds):
        t, v = m.GroupSplitter(person, seed=seed, **kwargs)(items)
        out['in_both'] |= {person(items[i]) for i in t} & {person(items[i]) for i in v}
        if sorted([*t, *v]) != list(range(len(items))): out['lost'].add(seed)
        out['held_out'].add(len(v))
    return out

def five_each(m): return both_sides(m, people(*[5]*20))

def not_in_a_row(m):
    items = people(*[4]*10)
    return both_sides(m, items[::3] + items[1::3] + items[2::3])

def near_to_the_share(m):
    "Of 100 items, 20 are wanted; the largest person has 9."
    return {abs(n - 20) <= 5 for n in both_sides(m, people(9, 8, 7, 6, *[5]*6, *[4]*5, *[2]*10))['held_out']}

def one_is_large(m): return both_sides(m, people(9, 1))['held_out']
def all_are_large(m): return both_sides(m, people(5, 5, 4), valid_pct=0.1)['held_out']
def a_little_too_much(m): return both_sides(m, people(*[4]*7), valid_pct=0.25)['held_out']
def neither_side_is_empty(m): return {0 < n < 5 for n in both_sides(m, people(2, 3), valid_pct=0.8)['held_out']}

def a_column(m):
    rows = [dict(who=o[0], n=o[1]) for o in people(*[3]*10)]
    t, v = m.GroupSplitter('who', 0.2, seed=1)(rows)
    return dict(in_both={rows[i]['who'] for i in t} & {rows[i]['who'] for i in v}, held_out=len(v))

def same_again(m):
    items = people(*[2]*20)
    a, b, c = (sorted(m.GroupSplitter(person, 0.3, seed=s)(items)[1]) for s in (1, 1, 2))
    return dict(same_seed=a == b, another_seed=a == c)

def everybody_now_and_then(m):
    items = people(*[3]*8)
    return sorted({items[i][0] for seed in range(60) for i in m.GroupSplitter(person, 0.25, seed=seed)(items)[1]})

def nobody_knows_whose(m): m.GroupSplitter(lambda o: None if o == 'b1' else o[0])(people(2, 2, 2))
def nan_is_nobody(m): m.GroupSplitter(lambda o: float('nan') if o == 'b1' else o[0])(people(2, 2, 2))
def one_person(m): m.GroupSplitter(person)(people(5))
def no_function(m): m.GroupSplitter(3)(people(2, 2))

@entry('08.3', level=2, minutes=25, hints=[
    'The groups are shuffled, not the items. As they come up one by one, when does taking a group bring the number of held-out items nearer to what is wanted?',
    'Collect the indices by group in a dict; `_reader` makes a function of a column name, `_missing` tells a group that is not known. With `left` items still wanted, a group of n brings the number nearer if n is at most twice as large.',
    'Keep whole groups in two lists until the end. See to it that neither side stays empty: the last group is not taken if all others were, and where all are too large the smallest goes to validation. `_cut` and `_shuffled` are there; fewer than two groups is a ValueError.'],
    why='What is asked of a model is how it does on people it has never seen, and a person on both sides answers another question. Groups differ in size, so the share can only be met nearly; taking a group where that comes nearer keeps the error below half a group, without a search.')
def group_splitter():
    at = (people, person, both_sides)
    return [case('nobody is on both sides, nothing is lost, and a fifth is held out', five_each, also=at),
            case('also when their items do not stand in a row', not_in_a_row, also=at),
            case('with groups of many sizes it comes near to the share', near_to_the_share, also=at),
            case('a group is taken if that brings the share nearer, not whenever it comes', one_is_large, also=at),
            case('of 28 items 7 are wanted, and 8 are nearer to that than 4', a_little_too_much, also=at),
            case('if all are too large, the smallest is held out', all_are_large, also=at),
            case('training is never empty', neither_side_is_empty, also=at),
            case('everybody is held out now and then', everybody_now_and_then, also=(people, person)),
            case('the same seed gives the same split, another one another', same_again, also=(people, person)),
            case("the group may be a column's name", a_column, also=people),
            case('a missing group is refused, with the item', nobody_knows_whose, raises=ValueError, names='b1', also=people),
            case('nan is missing too', nan_is_nobody, raises=ValueError, names='b1', also=people),
            case('a single group cannot be split', one_person, raises=ValueError, also=(people, person)),
            case('what is neither a function nor a column name is refused', no_function, raises=TypeError, names='group', also=people)]


def ready(m, labels=('cat', 'ant', 'dog', 'cat')):
    block = m.CategoryBlock()
    block.setup(list(labels))
    return block

def vocabulary(m): return list(ready(m).vocab)
def numbers_and_back(m):
    block = ready(m)
    return dict(numbers=[block.encode(o) for o in ('ant', 'cat', 'dog')], labels=[block.decode(i) for i in (0, 1, 2)])
def tensor_back(m): return ready(m).decode(torch.tensor(2))
def whole_numbers_as_labels(m):
    block = ready(m, [30, 5, 5])
    return dict(vocab=list(block.vocab), number=block.encode(30), label=block.decode(0))
def missing_is_no_class(m): return list(ready(m, ['b', None, 'a', float('nan')]).vocab)
def before_setup(m): return m.CategoryBlock().vocab
def given_order(m):
    block = m.CategoryBlock(['small', 'large', 'none'])
    block.setup(['large', 'huge'])
    return dict(vocab=list(block.vocab), number=block.encode('none'))
def given_without_setup(m): return m.CategoryBlock(vocab=('no', 'yes')).encode('yes')
def list_changed_later(m):
    words = ['no', 'yes']
    block = m.CategoryBlock(words)
    words.reverse()
    return dict(vocab=list(block.vocab), number=block.encode('yes'))
def set_up_again(m):
    block = ready(m)
    block.setup(['z', 'y'])
    return dict(vocab=list(block.vocab), number=block.encode('z'), old=block.check('cat') is not None)
def reasons(m):
    block = ready(m)
    return dict(known=block.check('cat'), unknown='bird' in block.check('bird'), missing='missing' in block.check(None))
def several_labels(m):
    block = m.MultiCategoryBlock()
    block.setup([['b', 'a'], [], ['b']])
    return dict(vocab=list(block.vocab), target=block.encode(['b']))
def unknown(m): ready(m).encode('bird')
def unknown_to_the_given(m): m.CategoryBlock(['a', 'b']).encode('c')
def nan_label(m): ready(m).encode(float('nan'))
def mixed(m): ready(m, ['a', 1])
def lists_of_labels(m): ready(m, [['a'], ['b']])

@entry('08.4', level=1, minutes=20, hints=[
    'What does the block know before `setup`, and what does `setup` add? A vocabulary that was given must not be changed by it.',
    'Sorted labels, without those that `_missing` says are none, as a list; and a dict from label to number, so that `encode` need not search. `decode` is an index into the list.',
    'Errors that help: a missing label, a label that is not in the vocabulary (with the label, and whether the vocabulary was given or comes from the training split). Labels that cannot be sorted or hashed are a TypeError; add to Python\'s message that several labels need a MultiCategoryBlock.'],
    why='Sorting makes the numbers the same in every process; the order of a set of strings is not. Learning from the training split alone means that a class which is only in validation is reported before training, instead of holding the accuracy down where no curve shows it.')
def category_block():
    return [case('the vocabulary is the sorted labels, each once', vocabulary, also=ready),
            case('labels become numbers and numbers labels', numbers_and_back, also=ready),
            case('a tensor can be turned back as well', tensor_back, also=ready),
            case('labels may be numbers', whole_numbers_as_labels, also=ready),
            case('a missing label is no class', missing_is_no_class, also=ready),
            case('without setup there is no vocabulary', before_setup),
            case('a vocabulary that is given stays as it is', given_order),
            case('a vocabulary that is given needs no setup', given_without_setup),
            case('a change of the list afterwards changes nothing', list_changed_later),
            case('a second setup learns anew', set_up_again, also=ready),
            case('check gives the reason, or None', reasons, also=ready),
            case('a block for several labels can be built on it', several_labels),
            case('an unknown label is refused, with where the vocabulary comes from', unknown, raises=ValueError, names=('bird', 'training'), also=ready),
            case('also by a vocabulary that was given', unknown_to_the_given, raises=ValueError, names=("'c'", 'given')),
            case('a missing label is refused', nan_label, raises=ValueError, names='missing', also=ready),
            case('labels that cannot be sorted are refused', mixed, raises=TypeError, also=ready),
            case('lists of labels are refused, with advice', lists_of_labels, raises=TypeError, names='MultiCategoryBlock', also=ready)]


IMAGES = torch.tensor([[[[0.25, 0.5]], [[0., 1.]]], [[[0.75, 1.]], [[0.5, 0.5]]]]) # two images, two channels, one row of two pixels

def normalised(m): return m.Normalize([0.5, 0.], [0.25, 0.5])((IMAGES.clone(), torch.tensor([1, 0])))

def one_channel(m): return m.Normalize([0.5], [0.1])((torch.tensor([[[[0.4, 0.6]]]]),))
def three_parts(m): return m.Normalize([0.5, 0.], [0.25, 0.5])((IMAGES.clone(), torch.tensor([1, 0]), 'names'))[1:]
def back_again(m):
    norm = m.Normalize([0.5, 0.], [0.25, 0.5])
    return norm.decode(norm((IMAGES.clone(), torch.tensor([1, 0]))))

def decoded(m): return m.Normalize([0.5], [0.25])
def decode_alone(m): return decoded(m).decode((torch.tensor([[[[-2., 0., 2.]]]]), torch.tensor([7])))

def as_many_channels_as_pixels(m):
    "Three channels of three by three pixels: whose mean is whose?"
    return m.Normalize([0., 1., 2.], [1., 1., 1.])((torch.zeros(1, 3, 3, 3),))[0]

def images_stay(m):
    x = IMAGES.clone()
    m.Normalize([0.5, 0.], [0.25, 0.5])((x, None))
    return x

def in_a_pipeline(m):
    "Listed before IntToFloat, called after it."
    p = m.Pipeline([m.Normalize([0.5], [0.5]), m.IntToFloat()])
    return p((torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.tensor([1])))

def batch_after_batch(m):
    norm = m.Normalize([0.5, 0.], [0.25, 0.5])
    return [norm((IMAGES[k:].clone(), None))[0] for k in (0, 1)]

def bytes_too_early(m): m.Normalize([0.5], [0.5])((torch.zeros(1, 1, 2, 2, dtype=torch.uint8), None))
def other_channels(m): m.Normalize([0.5]*3, [0.5]*3)((torch.zeros(2, 1, 4, 4), None))
def decode_other_channels(m): m.Normalize([0.5]*3, [0.5]*3).decode((torch.zeros(2, 1, 4, 4), None))
def two_and_three(m): m.Normalize([0.5]*2, [0.5]*3)
def std_of_zero(m): m.Normalize([0.5, 0.5], [0.5, 0.])

@entry('08.5', level=1, minutes=15, hints=[
    'One number per channel against images (n,c,h,w): which shape must the numbers have, so that they line up with the channels?',
    'A batch is a tuple: the images come first, and whatever follows is passed on. Two numbers for each channel, as tensors of shape (c,1,1) on the device of the images.',
    'Three doors: as many means as deviations, all deviations positive (both in the constructor), and in use a floating point batch with as many channels as there are means. A helper that gives both tensors, or raises, serves `__call__` and `decode`.'],
    why='One channel minus three means broadcasts to three channels and no error, so the number is checked. The tensors are kept for each device, because to make them anew in each batch would copy from the host and make a GPU wait. decode exists so that a picture can be shown as a person would see it.')
def normalize():
    return [case('each channel minus its mean, divided by its standard deviation; the target comes along', normalised),
            case('a single channel', one_channel),
            case('all that follows the images is passed on', three_parts),
            case('decode multiplies by the deviation and adds the mean', decode_alone, also=decoded),
            case('decode goes back', back_again),
            case('the channels are on axis 1', as_many_channels_as_pixels),
            case('the images that came in are not changed', images_stay),
            case('in a Pipeline it comes after IntToFloat', in_a_pipeline),
            case('one after the other, batches of other size', batch_after_batch),
            case('bytes are refused, with advice', bytes_too_early, raises=TypeError, names='IntToFloat'),
            case('another number of channels is refused', other_channels, raises=ValueError, names=('1', '3')),
            case('in decode, too', decode_other_channels, raises=ValueError, names=('1', '3')),
            case('two means and three deviations are refused', two_and_three, raises=ValueError, names=('mean', 'std')),
            case('a deviation of 0 is refused', std_of_zero, raises=ValueError, names='std')]


ROWS = [dict(x=i, kind=k) for i, k in enumerate('abbacab')]

def below_five(items):
    train = [i for i, o in enumerate(items) if o['x'] < 5]
    return train, [i for i in range(len(items)) if i not in train]

def kind(o): return o['kind']
def value(o): return o['x']

def block(m, **kwargs):
    "The numbers 0 to 6 with the labels a b b a c a b; the last two are for validation."
    return m.DataBlock(**{**dict(blocks=(m.TransformBlock, m.CategoryBlock), splitter=below_five, get_x=value, get_y=kind), **kwargs})

def shown(dsets):
    "What is in the data sets."
    return dict(train=[tuple(dsets.train[i]) for i in range(len(dsets.train))], valid=[tuple(dsets.valid[i]) for i in range(len(dsets.valid))], vocab=dsets.vocab and list(dsets.vocab),
                skipped=[(s.item if not isinstance(s.item, dict) else s.item['x'], s.split) for s in dsets.skipped], n_unused=dsets.n_unused)

def plain(m): return shown(block(m).datasets(ROWS))
def a_table(m):
    import pandas as pd
    return shown(block(m).datasets(pd.DataFrame(ROWS, index=range(100, 107))))
def from_a_function(m): return shown(block(m, get_items=lambda n: ROWS[:n]).datasets(6))
def a_generator(m): return shown(block(m).datasets(iter(ROWS)))
def functions_in_a_row(m): return shown(block(m, get_x=[value, lambda v: v + 1, lambda v: v*10]).datasets(ROWS))
def nothing_asked(m): return shown(m.DataBlock(splitter=lambda o: ([0, 2], [1])).datasets([10., 20., 30.]))
def in_the_splitters_order(m): return shown(block(m, splitter=lambda o: ([4, 0, 2], [6, 1])).datasets(ROWS))
def some_in_neither(m): return shown(block(m, splitter=lambda o: ([0, 1], [2])).datasets(ROWS))
def no_validation(m): return shown(block(m, splitter=lambda o: (list(range(7)), [])).datasets(ROWS))
def splitter_of_tensors(m): return shown(block(m, splitter=lambda o: (torch.arange(5), torch.arange(5, 7))).datasets(ROWS))

def train_only(m):
    def double(v): return 2*v
    double.train_only = True
    return shown(block(m, item_tfms=[double, lambda v: v + 1]).datasets(ROWS))

def two_sources(m):
    b = block(m)
    one, other = b.datasets(ROWS), b.datasets([dict(x=0, kind=k) for k in 'zyzyzyz'])
    return dict(one=list(one.vocab), other=list(other.vocab), block=b.blocks[1].vocab)

NEW = [*ROWS, dict(x=7, kind='new')]
NO_LABEL = [*ROWS, dict(x=33)]

class Positive:
    "A block that refuses negative numbers."
    def __new__(cls, m): return type('Positive', (m.TransformBlock,), dict(encode=cls.encode))()
    def encode(self, o):
        if o < 0: raise ValueError(f'{o} is negative')
        return o

NEGATIVE = [dict(x=-1, kind='only here'), *ROWS]

def class_only_in_validation(m): block(m).datasets(NEW)
def skip_class(m): return shown(block(m).datasets(NEW, on_error='skip'))
def no_label(m): block(m).datasets(NO_LABEL)
def skip_no_label(m): return shown(block(m).datasets(NO_LABEL, on_error='skip'))
def missing_label(m): return shown(block(m).datasets([dict(x=3, kind=None), *ROWS], on_error='skip'))
def skip_inputs(m): return shown(block(m, blocks=(Positive(m), m.CategoryBlock)).datasets(NEGATIVE, on_error='skip'))
def inputs_are_not_tried(m): return len(block(m, blocks=(Positive(m), m.CategoryBlock)).datasets(NEGATIVE).train)
def reason_is_told(m): return ['negative' in s.reason for s in block(m, blocks=(Positive(m), m.CategoryBlock)).datasets(NEGATIVE, on_error='skip').skipped]
def many_bad(m): block(m).datasets([*ROWS, *[dict(x=10 + i, kind=f'new{i}') for i in range(9)]])

def found_on_the_way(m, on_error):
    with tempfile.TemporaryDirectory() as d:
        tree(d, 'a/1.txt a/2.txt b/3.txt b/4.txt')
        found = m.get_files(d)
        found.skipped = [('gone.txt', 'a link to nothing')]
        made = block(m, get_items=lambda source: found, get_x=lambda p: p.name, get_y=m.parent_label, splitter=lambda o: ([0, 2], [1, 3])).datasets(d, on_error)
        return dict(shown(made), reasons=[s.reason for s in made.skipped])

def skip_found(m): return found_on_the_way(m, 'skip')
def refuse_found(m): return found_on_the_way(m, 'raise')
def a_real_mistake(m): block(m, get_y=lambda o: 1//0).datasets(ROWS, on_error='skip')
def in_both(m): block(m, splitter=lambda o: ([0, 1, 2], [2, 3])).datasets(ROWS)
def in_both_as_tensors(m): block(m, splitter=lambda o: (torch.tensor([0, 1, 2]), torch.tensor([2, 3]))).datasets(ROWS)
def no_training(m): block(m, blocks=(m.TransformBlock, m.TransformBlock), splitter=lambda o: ([], [0, 1])).datasets(ROWS)
def all_bad(m): block(m, splitter=lambda o: ([0, 1], [2])).datasets([*ROWS[:2], dict(x=5, kind='new')], on_error='skip')
def no_items(m): block(m, get_items=lambda source: []).datasets('empty_folder')
def a_folder(m): block(m).datasets('some/folder')
def a_number(m): block(m).datasets(7)
def third_way(m): block(m).datasets(ROWS, on_error='ignore')

@entry('08.6', level=3, minutes=45, hints=[
    'Write down the life of an item: it is found, falls into a split, gets a label, is perhaps tried, and its label is encoded. At which of these steps can it be lost, and what must be known before the next one?',
    'Split first. Then the labels of each split; with skip also the inputs, since a bad item must not teach the vocabulary anything. Then `setup` of the y block with the training labels alone, and only then `check` of all labels. Collect `Skipped(item, reason, split)` all the way, and decide at the end.',
    '`_items` makes an L (rows of a DataFrame as dicts); `_chain` lets get_x and get_y be None, a function or a list; `_attempt` turns ValueError, LookupError and OSError into a reason and lets all others through. Copy the blocks before setup. Each ItemDataset gets its items, labels, both blocks, get_x and the item transforms of its split. A split that had items and has none left is an error.'],
    why='All bad items are reported together, because a message for one at a time costs a run for each. The blocks are copied, so a DataBlock stays a description that can be used for the next source. setup sees the training labels alone: what validation holds must not leak into what the model is built for.')
def datasets():
    at = (below_five, block, shown)
    return [case('items, labels and vocabulary of both splits', plain, also=at),
            case('a table gives its rows as dicts, whatever its index', a_table, also=at),
            case('get_items makes the items of a source', from_a_function, also=at),
            case('the items may come from a generator', a_generator, also=at),
            case('a list of functions is called in turn', functions_in_a_row, also=at),
            case('without get_x and get_y the item is both', nothing_asked, also=shown),
            case("the order is the splitter's", in_the_splitters_order, also=at),
            case('items in neither split are counted', some_in_neither, also=at),
            case('validation may be empty', no_validation, also=at),
            case('the splitter may give tensors', splitter_of_tensors, also=at),
            case('a transform for training alone is left out of validation', train_only, also=at),
            case('a block learns anew for each source and stays as it was', two_sources, also=block),
            case('a class that is in validation alone is an error, with the item', class_only_in_validation, raises=ValueError, names=('1 of 8', "'new'", 'valid'), also=block),
            case("on_error='skip' leaves it out and lists it", skip_class, also=at),
            case('an item without a label is an error, with the item', no_label, raises=ValueError, names=('1 of 8', '33'), also=block),
            case('it can be skipped', skip_no_label, also=at),
            case('a label that is missing can be skipped', missing_label, also=at),
            case('skip tries the inputs, and a bad one teaches the vocabulary nothing', skip_inputs, also=(*at, Positive)),
            case('the reason is that of the block', reason_is_told, also=(block, Positive)),
            case('without skip the inputs are not tried beforehand', inputs_are_not_tried, also=(block, Positive)),
            case('all bad items are counted, and some of them shown', many_bad, raises=ValueError, names=('9 of 16', 'new0', 'and 4 more'), also=block),
            case('what get_items could not read is listed', skip_found, also=(found_on_the_way, tree, *at)),
            case('or is an error', refuse_found, raises=ValueError, names=('gone.txt', 'a link to nothing'), also=(found_on_the_way, tree, *at)),
            case('a mistake in get_y comes out as it is', a_real_mistake, raises=ZeroDivisionError, also=block),
            case('an item in both splits is an error', in_both, raises=ValueError, names='both', also=block),
            case('also where the splitter gives tensors', in_both_as_tensors, raises=ValueError, names='both', also=block),
            case('a split without training is an error', no_training, raises=ValueError, names='training', also=block),
            case('a split of which nothing is left is an error', all_bad, raises=ValueError, names='valid', also=block),
            case('a source without items is an error', no_items, raises=ValueError, names='empty_folder', also=block),
            case('a folder without get_items is refused, with advice', a_folder, raises=TypeError, names='get_items', also=block),
            case('a number is no source', a_number, raises=TypeError, names='7', also=block),
            case('an unknown on_error is refused', third_way, raises=ValueError, names='on_error', also=block)]
