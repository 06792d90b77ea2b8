"Wrong answers to the exercises of lesson 08; see 03_losses.py for the form."

GLOB = '''def get_files(path, extensions=None, recurse=True, folders=None, followlinks=True):
    path, exts = Path(path), _suffixes(extensions)
    if not path.is_dir(): raise (NotADirectoryError if path.exists() else FileNotFoundError)(path)
    only = [folders] if isinstance(folders, str) else folders
    if absent := [f for f in only or () if not (path/f).is_dir()]: raise FileNotFoundError(f'{absent}: there are {sorted(p.name for p in path.iterdir())}')
    found = path.rglob('*') if recurse else path.glob('*')
    keep = lambda p: not any(o[0] == '.' for o in p.relative_to(path).parts) and (exts is None or p.name.lower().endswith(exts))
    top = lambda p: '.' if len(p.relative_to(path).parts) == 1 else p.relative_to(path).parts[0]
    return PathList(SORTED(str(p) for p in found if keep(p) and IS_FILE and (only is None or top(p) in only)))
'''

WRONG = {
    '08.1': [
        (None, GLOB.replace('SORTED', 'list').replace('IS_FILE', 'True'), 'the files of a folder, sorted'),
        (None, GLOB.replace('SORTED', 'sorted').replace('IS_FILE', 'True'), 'names with a leading dot are left out'),
        (None, GLOB.replace('SORTED', 'sorted').replace('IS_FILE', 'p.is_file()'), 'the system is not asked'),
        ("if name[0] == '.': continue", 'pass', 'names with a leading dot are left out'),
        ('name.lower().endswith(exts)', 'name.endswith(exts)', 'in any case'),
        ('path, exts = os.fspath(path), _suffixes(extensions)', "path, exts = os.fspath(path), None if extensions is None else tuple(e.lower() for e in ([extensions] if isinstance(extensions, str) else extensions))", 'what follows the last dot'),
        ('if recurse and (', 'if (', 'recurse=False stays'),
        ('{folders} if isinstance(folders, str) else set(folders)', 'set(folders)', 'got       FileNotFoundError'),
        ("and (not top or only is None or '.' in only):", "and (not top or only is None):", "'.' stands for"),
        ('if recurse and (not top or only is None or name in only)', 'if recurse and (only is None or name in only)', 'names the subfolders to look into'),
        ('        seen.add(key)\n', '        seen.add(folder)\n', 'a link back up'),
        ('skipped.append((folder, \'a link to a folder that is read already\'))\n', 'pass\n', 'listed in skipped'),
        ('names += sorted(files)', 'names += files', 'sorted'),
        ('todo += sorted(subfolders, reverse=True)', 'todo += subfolders', 'the order in which the disk lists'),
        ("if e.is_file(): files.append(e.path)\n                    else: skipped.append((e.path, 'no file: a link to nothing, or a device'))", 'files.append(e.path)', 'a link to nothing'),
        ('e.is_dir(follow_symlinks=followlinks)', 'e.is_dir()', 'leaves linked folders out'),
        ('e.is_dir(follow_symlinks=followlinks)', 'e.is_dir(follow_symlinks=False)', 'linked'),
        ('return PathList(names, skipped)', 'return [Path(o) for o in names]', 'got       TypeError'),
        ('raise (NotADirectoryError if there else FileNotFoundError)(', 'raise FileNotFoundError(', 'a file in place of a folder'),
        ('if only and (absent := sorted(f for f in only if not os.path.isdir(os.path.join(path, f)))):', 'if absent := False:', 'an unknown subfolder'),
    ],
    '08.2': [
        ('sorted(self._labels(values))', 'list(dict.fromkeys(values))', 'the sorted labels'),
        ('sorted(self._labels(values))', 'sorted(values)', 'each once'),
        ('if not _missing(o)}', '}', 'a missing label is no class'),
        ('if self._given: return', 'pass', 'a vocabulary that is given stays'),
        ('else list(vocab), vocab', 'else sorted(vocab), vocab', 'a vocabulary that is given stays'),
        ('else list(vocab), vocab', 'else vocab, vocab', 'a change of the list afterwards'),
        ("vocab is not None; self._index()", "vocab is not None; self._o2i = {}", 'a vocabulary that is given'),
        ("Several labels for one item need a MultiCategoryBlock') from None\n        self._index()", "Several labels for one item need a MultiCategoryBlock') from None\n        if not self._o2i: self._index()", 'a second setup learns anew'),
        ('return self.vocab[int(o)]', 'return self.vocab[o - 1]', 'labels become numbers and numbers labels'),
        ("if _missing(o): raise ValueError('the label is missing')\n", 'pass\n', "missing"),
        ('return self._o2i[o]\n        raise ValueError(', 'return self._o2i[o]\n        return len(self._o2i)\n        raise ValueError(', 'a second setup learns anew'),
        ('except TypeError as e: raise TypeError(f\'the labels cannot be made a vocabulary: {e}. Several labels for one item need a MultiCategoryBlock\') from None', 'except ZeroDivisionError: pass', "a message without 'MultiCategoryBlock'"),
        ('def _labels(self, values): return {o for o in values if not _missing(o)}', 'def _labels(self, values): return {str(o) for o in values if not _missing(o)}', 'labels may be numbers'),
        ('def encode(self, o): return self._number(o)', 'def encode(self, o): return torch.tensor(self._number(o))', 'Tensor where int is expected'),
    ],
    '08.3': [
        ("y.setup([v for _, v in good['train']])", "y.setup([v for rows in good.values() for _, v in rows])", 'a class that is in validation alone'),
        ('(copy.copy(b) for b in self.blocks)', 'self.blocks', 'stays as it was'),
        ("self._item(name == 'train')", 'self._item(True)', 'for training alone'),
        ("L(source.to_dict('records'))", "L(list(source.itertuples()))", 'a table gives its rows as dicts'),
        ("L(source.to_dict('records'))", "L([source.loc[i].to_dict() for i in range(len(source))])", 'a table gives its rows'),
        ('source if isinstance(source, L) else L(list(source))', 'source', 'the items may come from a generator'),
        ('return _same if f is None else Pipeline(f)', 'return _same if f is None else f[0]', 'called in turn'),
        ('except (ValueError, LookupError, OSError) as e:', 'except (ValueError, OSError) as e:', 'an item without a label'),
        ('except (ValueError, LookupError, OSError) as e:', 'except Exception as e:', 'comes out as it is'),
        ('if both: raise', 'if False: raise', 'an item in both splits'),
        ('if not train: raise', 'if False: raise', 'a split without training'),
        ('if skipped and on_error == \'raise\':', 'if False:', 'bad input is accepted'),
        ("skipped = [Skipped(o, why, 'not read') for o, why in getattr(items, 'skipped', ())]", 'skipped = []', 'could not read is listed'),
        ("if on_error == 'skip': rows = ", "if False: rows = ", 'skip tries the inputs'),
        ("if on_error == 'skip': rows = ", "if True: rows = ", 'the inputs are not tried beforehand'),
        ('skipped, len(items) - sum(map(len, splits.values())))', 'skipped)', "the order is the splitter's"),
        ('for o in (items[i] for i in idx)]', 'for o in (items[i] for i in sorted(idx))]', "the order is the splitter's"),
        ('([int(i) for i in idx] for idx in self.splitter(items))', '(list(idx) for idx in self.splitter(items))', 'also where the splitter gives tensors'),
        ('if splits[name] and not rows: raise', 'if False: raise', 'of which nothing is left'),
        ('if splits[name] and not rows: raise', 'if not rows: raise', 'validation may be empty'),
        ('if not len(items): raise', 'if False: raise', "a message without 'empty_folder'"),
        ("if isinstance(source, (str, bytes, os.PathLike)) or not hasattr(source, '__iter__'):", "if not hasattr(source, '__iter__'):", 'a folder without get_items'),
        ("if on_error not in ('raise', 'skip'): raise", 'if False: raise', 'an unknown on_error'),
        ('skipped += [Skipped(o, why, name) for (o, _), why in zip(rows, whys) if why]\n', 'pass\n', 'in validation alone'),
    ],
}
