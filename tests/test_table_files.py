"What a table file says is what is read: its rows, its labels and their types."
import bz2,csv,datetime,gzip,json,lzma,random,re,warnings,zipfile
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blurlike.all import Rows, check_columns, read_rows, read_table, sequence_classification_learner, set_seed, token_classification_learner
from blurlike.cli import main
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value
from small import FRAMES, learner

@pytest.fixture
def read(tmp_path):
    def read(name, content, **kwargs):
        (tmp_path/name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(tmp_path/name, **kwargs)
    return read

def refused(read, name, content, *said):
    with pytest.raises(ValueError) as e: read(name, content)
    for s in (name, *said): assert s in str(e.value)

# Tables of one column

@pytest.mark.parametrize('content,want', [
    ('text\na\n \nb\n', ['a',' ','b']), ('text\na\n\t\nb', ['a','\t','b']), ('text\na\n\nb\n', ['a',None,'b']), ('text\na\n""\n', ['a',None]),
    ('\n\ntext\na\n\n\n', ['a']), ('text\r\na\r\n\r\nb\r\n', ['a',None,'b']), ('text\n"a\n\nb"\nc\n', ['a\n\nb','c']), ('text\n', []), ('text', [])])
def test_a_line_is_a_row(content, want, read):
    df = read('a.csv', content)
    assert df.columns.tolist()==['text'] and df.text.astype(object).where(df.text.notna(), None).tolist()==want

def test_numbers_in_one_column(read): assert read('a.csv', 'n\n1\n2\n').n.tolist()==[1,2] and read('a.tsv', 'n\nTrue\nFalse\n').n.tolist()==[True,False]

# Where a row ends

@pytest.mark.parametrize('name,content,said', [
    ('a.csv', 'text,label\ngood, he said,pos\nbad, she said,neg\n', ['line 2', '3 fields', 'names 2', 'quotes around']), # a comma in each text
    ('a.csv', 'text,label\ngood,pos,\nbad,neg,\n', ['line 2', '3 fields', 'ends of lines']), # and at each end
    ('a.csv', 'id,text,label\n1,good,pos,\n2,bad,neg,\n', ['line 2', '4 fields']),
    ('a.csv', 'text,label\ngood,pos\n"two\nlines",neg\nbad, she said,neg\n', ['line 5', '3 fields']), # lines of the file, not rows
    ('a.tsv', 'text\tlabel\na\tb\tc\nd\te\tf\n', ['line 2', '3 fields']),
    ('a.csv', 'text;label\na, b;1\nb, c, d;2\n', ["divided by ';'"]),
    ('a.csv', 'text;label\na, b;1\nb, c;2\n', ["divided by ';'"]),
    ('a.csv', 'text,label\n"good,pos\nbad,neg\n', ['line 2', 'not closed']),
    ('a.csv', 'id,text,label\n1,good, indeed,pos\n2,bad, she said,neg\n', ['4 fields', 'names 3', 'quotes']), # ids are no row numbers of R's
    ('a.csv', 'key,text,label\n17,good, indeed,pos\n4,bad, she said,neg\n', ['4 fields', 'names 3', 'quotes']), # nor are unique ones out of order
    ('a.csv', 'key,text,label\n1,good, indeed,pos\n2,bad, she said,neg\n', ['4 fields']), # a comma and a space
    ('a.csv', 'key,text,label\n1,good,pos,\n2,bad,neg,\n', ['4 fields']),
    ('a.csv', 'text,label\n"good,pos\nbad,neg\n"nice" film,pos\n', ['line 2', 'line 4']),
    ('a.csv', 'text,label\nfine,pos\n"good,pos\nbad 5",neg\n', ['lines 3 to 4', 'stray quote']), # well formed, but so are the lines without quotes
    ('a.tsv', 'text\tlabel\n"good\tpos\nbad 5"\tneg\n', ['lines 2 to 3', 'stray quote'])])
def test_rows_that_do_not_fit_the_header(name, content, said, read): refused(read, name, content, *said)

@pytest.mark.parametrize('content', ['"text","label"\n"1","good","pos"\n"7","bad, she said","neg"\n', 'text,label\n1,good,pos\n2,"bad, she said",neg\n', 'text,label\n0,good,pos\n1,"bad, she said",neg\n'])
def test_row_numbers_as_r_writes_them(content, read):
    with pytest.warns(UserWarning, match='2 of 3 fields.*row numbers'): df = read('a.csv', content)
    assert df.to_dict('list')==dict(text=['good','bad, she said'], label=['pos','neg']) and df.index.tolist()==[0,1]

def test_a_tsv_that_was_written_without_quoting(read):
    texts = [f'{q}line {i}{e}' for i,(q,e) in enumerate([('"',''), ('','"'), ('"','" he said'), ('',' 5"'), ('',''), ('"','"')]*10)]
    df = read('a.tsv', 'text\tlabel\n'+''.join(f'{t}\t{i%2}\n' for i,t in enumerate(texts)))
    assert df.text.tolist()==texts and df.label.tolist()==[0,1]*30

@pytest.mark.parametrize('name,sep', [('a.csv',','), ('a.tsv','\t')])
def test_real_quotes_are_read(name, sep, tmp_path):
    df = pd.DataFrame(dict(text=['two\nlines','a "word"','a, b','c\td','"',"it's",'x'*200_000], label=list('ababcab')))
    df.to_csv(tmp_path/name, sep=sep, index=False)
    assert read_table(tmp_path/name).to_dict('list')==df.to_dict('list')

@pytest.mark.parametrize('content', ['\ufefftext,label\na,1\nb,2\n', '\ufeff"text","label"\r\n"a",1\r\nb,2\r\n', 'text,label\ra,1\rb,2\r', 'text,label\n\na,1\n\n\nb,2', 'text,label\na,1\nb,2\n\n'])
def test_marks_and_line_ends(content, read): assert read('a.csv', content).to_dict('list')==dict(text=['a','b'], label=[1,2])

def test_what_is_missing(read):
    df = read('a.csv', 'text,label,n\n NA , x \nNone,null,1\n"",,2\n')
    assert df.text[:2].tolist()==[' NA ','None'] and df.label[:2].tolist()==[' x ','null']
    assert df.isna().to_numpy().tolist()==[[False,False,True], [False]*3, [True,True,False]]

def test_a_name_that_stands_twice_is_no_other_column(read, tmp_path):
    read('a.csv', 'text,text,label\na,b,c\n')
    with pytest.raises(ValueError, match='2 times'): check_columns(read_rows(tmp_path/'a.csv')[0], 'text')

def test_a_sign_of_another_kind(read):
    with pytest.raises(KeyError, match="divided by ','.*csv"): check_columns(Rows(read('a.tsv', 'text,label\na,1\n')), 'text')
    refused(read, 'a.csv', 'text,label\na,b\n'.encode('utf-16'), "encoding='utf-16'")

# What a column holds

@pytest.mark.parametrize('spelled,holds', [
    (['01','1'],None), (['007','2'],None), (['1E2','100'],None), (['1e5','2'],None), (['+1','2'],None), (['1_000','2'],None), ([' 1','2'],None), (['-0','0'],None), (['٣','2'],None),
    (['True','TRUE'],None), (['True','1'],None), (['9223372036854775808','1'],None), (['9007199254740993',''],None), (['1','2','x'],None), (['0x1','1'],None), (['1,5','2'],None),
    (['1','-2'],[1,-2]), (['0','10'],[0,10]), (['9223372036854775807','1'],[2**63-1,1]), (['3.80','2.5'],[3.8,2.5]), (['5.000','4.750'],[5.,4.75]), (['1','2.5'],[1.,2.5]), (['1e-05','0.5'],[1e-5,.5]), (['-0.25','1e+20'],[-.25,1e20]),
    (['0.1','0.30000000000000004'],[.1,.1+.2]), (['True','False'],[True,False]), (['TRUE','FALSE'],[True,False]), (['true','true'],[True,True])])
@pytest.mark.parametrize('name', ['a.csv','a.tsv'])
def test_a_column_is_numbers_where_they_read_back(spelled, holds, name, read):
    sep = ',' if name=='a.csv' else '\t'
    got = read(name, f'text{sep}label\n'+''.join(f't{i}{sep}' + (f'"{s}"' if ',' in s else s)+'\n' for i,s in enumerate(spelled))).label
    assert [o for o in got if o==o]==[s for s in spelled if s] if holds is None else got.tolist()==holds and [type(o) for o in got.tolist()]==[type(o) for o in holds]

@pytest.mark.parametrize('spelled', [['1.10','1.1'], ['nan','1.5'], ['inf','1.5'], ['.5','1.5'], ['1e+400','1.5']])
def test_numbers_that_stay_text_are_told_of(spelled, read):
    with pytest.warns(UserWarning, match=r"'a.csv', column 'label': kept as text.*problem_type='regression'"): df = read('a.csv', 'text,label\n'+''.join(f't{i},{s}\n' for i,s in enumerate(spelled)))
    assert df.label.tolist()==spelled

def test_columns_that_stay_text_when_asked(read): assert read('a.csv', 'text,label,n\n12,1.10,1\n', as_text=['text','label']).to_dict('list')==dict(text=['12'], label=['1.10'], n=[1])

@pytest.mark.parametrize('late,kind', [('x',str), ('2.5',float)])
def test_a_long_file_is_read_alike_from_first_row_to_last(late, kind, read):
    n,wide = 20_000,',x'*126 # pandas guesses types anew every 2**20/columns rows
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        got = read('a.csv', 'text,label'+''.join(f',c{i}' for i in range(126))+'\n'+''.join(f'row {i},{i%3}{wide}\n' for i in range(n))+f'last,{late}{wide}\n').label
    assert set(map(type, got.tolist()))=={kind} and got.iloc[0]==kind(0)

# Packed files

PACKED = {'gz':gzip.compress, 'bz2':bz2.compress, 'xz':lzma.compress}
CONTENT = {'a.csv':'text,label\n"a, b",01\nc,1\n', 'a.tsv':'text\tlabel\na, b\t01\nc\t1\n', 'a.jsonl':'{"text": "a, b", "label": "01"}\n{"text": "c", "label": "1"}\n',
    'a.json':'[{"text": "a, b", "label": "01"},\n {"text": "c", "label": "1"}]'}

def zipped(path, *members):
    with zipfile.ZipFile(path, 'w') as z:
        for name,content in members: z.writestr(name, content)
    return path

@pytest.mark.parametrize('name', CONTENT)
@pytest.mark.parametrize('packing', [*PACKED, 'zip', 'GZ'])
def test_packed_files_are_read(name, packing, read, tmp_path):
    path = f'{name}.{packing}'
    got = read_table(zipped(tmp_path/path, (name, CONTENT[name]))) if packing=='zip' else read(path, PACKED[packing.lower()](CONTENT[name].encode()))
    assert got.to_dict('list')==dict(text=['a, b','c'], label=['01','1'])

@pytest.mark.parametrize('packing', PACKED)
def test_damaged_packed_files_are_named(packing, read):
    refused(read, f'a.csv.{packing}', b'text,label\na,b\n', 'cannot be read as csv') # not packed at all
    refused(read, f'b.csv.{packing}', PACKED[packing](b'text,label\n'+bytes(range(48, 58))*500)[:-20], 'cannot be read as csv')

def test_what_no_packed_file_says(read, tmp_path):
    for members in ([('a.csv', 'text\na\n'), ('b.csv', 'text\nb\n')], []):
        with pytest.raises(ValueError, match=f"'a.csv.zip' holds {len(members)} files.*unpack"): read_table(zipped(tmp_path/'a.csv.zip', *members))
    refused(read, 'b.csv.zip', b'text', 'cannot be read as csv')
    refused(read, 'a.parquet.gz', b'', 'unpack', repr(str(tmp_path/'a.parquet')))
    refused(read, 'a.tar.gz', b'', 'known endings')
    refused(read, 'a.csv.gz', gzip.compress('text,label\na,b\n'.encode('utf-16')), "encoding='utf-16'")

def test_training_from_a_packed_file(bert, in_tmp):
    FRAMES['single'].to_csv('t.csv.gz', index=False)
    learn = learner('single', bert, 't.csv.gz', valid='t.csv.gz')
    assert len(learn.dls.train_ds)==len(learn.dls.valid_ds)==len(FRAMES['single'])

# Parquet

def _of_two(a, b, kind=None): return pa.array([a, b]*8, kind)
AS_TEXT = [f'a film {i}' for i in range(16)]

@pytest.mark.parametrize('label,names', [(_of_two(Decimal('1.10'), Decimal('2.5')),['label']), (_of_two('x', 'y').dictionary_encode(),['x','y']), (_of_two('x', 'y', pa.large_string()),['x','y']),
    (_of_two(['x'], ['x','y'], pa.large_list(pa.large_string())),['x','y']), (_of_two(1.5, 2.5).cast(pa.float16()),['label'])], ids=['decimal','dictionary','large','lists','half'])
def test_labels_that_parquet_holds(label, names, bert, in_tmp):
    pq.write_table(pa.table(dict(text=pa.array(AS_TEXT).dictionary_encode(), label=label)), 't.parquet')
    assert sorted(sequence_classification_learner('t.parquet', bert, bs=4, valid=.25).names)==names

@pytest.mark.parametrize('odd,found,remedy', [(_of_two(datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)),'date','str'), (_of_two(dict(a=0), dict(a=1)),'dict',None), (_of_two(b'x', b'y'),'bytes','decode'),
    (_of_two([['x']], [['y']]),'ndarray',None), (_of_two([dict(a='x')], [dict(a='y')]),'dict',None)], ids=['dates','structs','bytes','lists of lists','lists of structs'])
def test_what_parquet_holds_that_is_no_text_or_label(odd, found, remedy, bert, in_tmp):
    for name in ('text','label'):
        pq.write_table(pa.table(dict(text=AS_TEXT, label=_of_two('x', 'y')) | {name:odd}), 't.parquet')
        with pytest.raises(TypeError, match=f"column '{name}'.*{found if name=='label' or not pa.types.is_list(odd.type) else 'ndarray'}.*{remedy or ''}"): sequence_classification_learner('t.parquet', bert, bs=4, valid=.25)

def with_names(names, label, name='t.parquet'): # as `datasets` writes it
    ds = Dataset.from_dict(dict(text=AS_TEXT, label=label), features=Features(text=Value('string'), label=names))
    ds.to_parquet(name)
    return ds

MOODS = ClassLabel(names=['neg','pos','other'])

@pytest.mark.parametrize('names,label', [(MOODS,[0,1]*8), (Sequence(MOODS),[[0],[1,0]]*8)], ids=['one','several'])
def test_names_of_labels_in_a_parquet_file(names, label, bert, in_tmp):
    ds = with_names(names, label)
    of_ds,of_file = (sequence_classification_learner(o, bert, bs=4, valid=.25) for o in (ds, 't.parquet'))
    assert of_file.names==of_ds.names==['neg','pos','other'] and of_file.model.config.id2label=={0:'neg', 1:'pos', 2:'other'}
    targets = [[t.tolist() for _,t in o.dls.test_dl(rows, with_labels=True)] for o in (of_ds, of_file) for rows in (ds, 't.parquet')]
    assert all(t==targets[0] for t in targets) and of_file.report('t.parquet').metrics==of_file.report(ds).metrics
    df = pd.DataFrame([dict(r) for r in Rows(ds)])
    for two in ((df, 't.parquet'), ('t.parquet', df), ('t.parquet','t.parquet')): assert sequence_classification_learner(two, bert, bs=4).names==['neg','pos','other']
    of_file.save_pretrained('saved')
    assert main(['report', 'saved', 't.parquet', '--rows', '0'])==main(['predict', 'saved', 't.parquet', '--out', 'p.jsonl'])==0

def test_no_label_in_a_parquet_file(bert, in_tmp, capsys):
    learn = sequence_classification_learner(with_names(MOODS, [0,1]*8), bert, bs=4, valid=.25)
    with_names(MOODS, [0,1,-1,1]*4)
    for data in ('t.parquet', (pd.DataFrame(dict(text=AS_TEXT, label=['neg','pos']*8)), 't.parquet')):
        with pytest.raises(ValueError, match="'label' has no label in row"): sequence_classification_learner(data, bert, bs=4)
    with pytest.raises(ValueError, match="rows 2, 6, 10, 14: column 'label' holds nan"): learn.report('t.parquet')
    learn.save_pretrained('saved')
    assert main(["report", "saved", "t.parquet"])==2 and "rows 2, 6, 10, 14: column 'label' holds nan" in capsys.readouterr().err

def test_parquet_files_whose_other_columns_are_not_alike(bert, in_tmp):
    def write(name, values, kind, names=MOODS):
        features = Features(text=Value('string'), label=names, note=Value(kind))
        Dataset.from_dict(dict(text=AS_TEXT, label=[0,1]*8, note=values), features=features).to_parquet(name)
    write('a.parquet', ['x']*16, 'string')
    for values,kind,names in (([None]*16,'null',MOODS), ([1]*16,'int64',MOODS), (['x']*16,'large_string',ClassLabel(names=['pos','neg']))):
        write('b.parquet', values, kind, names)
        for kwargs in (dict(data=('a.parquet','b.parquet')), dict(data='a.parquet', valid='b.parquet')):
            learn = sequence_classification_learner(checkpoint=bert, bs=4, **kwargs)
            assert learn.names==MOODS.names and [learn.names[o[1]] for o in learn.dls.valid_ds]==[names.names[i] for i in [0,1]*8]

def test_what_datasets_does_not_know_stands_beside_its_labels(bert, in_tmp):
    with_names(MOODS, [0,1]*8)
    table = pq.read_table('t.parquet')
    pq.write_table(table.append_column('m', pa.array([[('a',1)]]*16, type=pa.map_(pa.string(), pa.int64()))), 'map.parquet')
    assert sequence_classification_learner('map.parquet', bert, bs=4).names==MOODS.names
    pq.write_table(table.rename_columns(['body','mood']), 'renamed.parquet') # what it notes is of the old names
    assert sequence_classification_learner('renamed.parquet', bert, text='body', label='mood', bs=4).names==[0,1]
    pq.write_table(table.set_column(1, 'label', pa.array([0,7]*8)), 'odd.parquet')
    with pytest.raises(ValueError, match='mixes types of labels: int, str'): sequence_classification_learner('odd.parquet', bert, bs=4)

def test_names_of_tags_in_a_parquet_file(bert, in_tmp):
    features = Features(tokens=Sequence(Value('string')), tags=Sequence(ClassLabel(names=['O','B-X','I-X'])))
    Dataset.from_dict(dict(tokens=[['a','film']]*8, tags=[[0,1]]*8), features=features).to_parquet('t.parquet')
    assert token_classification_learner('t.parquet', bert, bs=4).names==['O','B-X','I-X']

def code_in(e): return re.search('`(pd.*?)`', str(e.value))[1]
def followed(e, path): return eval(code_in(e).replace('...', 'path'), dict(pd=pd, csv=csv, path=path))

@pytest.mark.parametrize('name,content', [('a.csv','text;label\n"a;b\nc;d\n'), ('a.csv','text;label\n"a, b;x\n"c;d"\n'), ('a.csv','text,label\n"a,b\nc,d\n')])
def test_quotes_that_are_odd_are_read_as_is_advised(name, content, read, tmp_path):
    with pytest.raises(ValueError, match='a quote opens a field') as e: read(name, content)
    df = followed(e, tmp_path/name)
    assert list(df)==['text','label'] and len(df)==2

def test_odd_quotes_that_nothing_reads(read):
    with pytest.raises(ValueError, match='double quotes inside of a field$'): read('a.csv', 'text,label\n"a, x,b\nc,d\n')

@pytest.mark.parametrize('encoding', ['latin1','utf-16'])
@pytest.mark.parametrize('name', ['a.csv','a.tsv','a.jsonl','a.json','a.jsonl.gz'])
def test_other_encodings_are_read_as_is_advised(name, encoding, read, tmp_path):
    content = CONTENT[name.removesuffix('.gz')].replace('c', '\xe9').encode(encoding)
    with pytest.raises(ValueError, match='is not UTF-8') as e: read(name, gzip.compress(content) if name.endswith('.gz') else content)
    df = followed(e, tmp_path/name)
    assert list(df)==['text','label'] and df.text.tolist()==['a, b','\xe9'] and ('json' not in name or df.label.tolist()==['01','1'])

@pytest.mark.parametrize('name,other', [('a.jsonl.gz','a.json.gz'), ('a.jsonl','a.json'), ('A.JSONL','A.json')])
def test_an_array_in_jsonl_is_read_as_is_advised(name, other, read, tmp_path):
    content = json.dumps([dict(text='a', label='01'), dict(text='b', label='1')]).encode()
    with pytest.raises(ValueError, match='one JSON array') as e: read(name, gzip.compress(content) if name.endswith('.gz') else content)
    assert str(e.value).endswith(f"call it {str(tmp_path/other)!r}")
    way = re.search('`(json.*?)`', str(e.value))
    assert (way is None)==name.endswith('.gz') and (way is None or read_rows(eval(way[1]))[0].column('label').tolist()==['01','1'])
    (tmp_path/name).rename(tmp_path/other)
    assert read_table(tmp_path/other).label.tolist()==['01','1']

# JSON

def test_jsonl_with_a_mark(read): assert read('a.jsonl', '\ufeff{"text": "a", "label": "01"}\n\n{"text": "b", "label": "1"}\n').to_dict('list')==dict(text=['a','b'], label=['01','1'])

@pytest.mark.parametrize('content,said', [('[{"text": "a"},\n{"text": "b"}]', ['one JSON array', 'json.load']), ('[{"text": "a"}]', ['one JSON array']), ('{\n "text": "a"\n}\n', ['one JSON object over many lines']),
    ('{"text": "a"}\n{"text": \n', ['line 2']), ('{"text": "a"}\n["b"]\n', ['line 2']), ('{"text": "a"}\n\n{"text": "b", "text": "c"}\n', ['line 3', "'text' is there twice"]), ('{"text": "a"}{"text": "b"}\n', ['line 1'])])
def test_json_that_is_no_jsonl(content, said, read): refused(read, 'a.jsonl', content, *said)

@pytest.mark.parametrize('content,said', [('{"data": [{"text": "a"}], "version": 1}', "holds one object, with the keys 'data', 'version': an array of objects"), ('[1, 2]', 'holds no array of objects'), ('[{"text": "a", "text": "b"}]', "'text' is there twice"),
    ('[{"text": "a"},', 'cannot be read as jsonl: line 1')])
def test_json_that_is_no_table(content, said, read):
    with pytest.raises(ValueError, match=said): read('a.json', content)

def test_a_json_file_with_an_object_a_line(read): assert read('a.json', CONTENT['a.jsonl']).to_dict('list')==dict(text=['a, b','c'], label=['01','1'])

@pytest.mark.parametrize('name', ['text','label'])
def test_half_a_character_is_named(name, read):
    records,said = [dict(text='a', label='x'), dict(text='b', label='y') | {name:'\ud83d'}],f"column {name!r}, row 1.*lone surrogate"
    with pytest.raises(ValueError, match=said): read_rows(records)
    with pytest.raises(ValueError, match=said): read('a.jsonl', '\n'.join(map(json.dumps, records)))

def test_numbers_in_two_spellings_are_numbers_when_asked_for(bert, in_tmp):
    Path('t.csv').write_text('text,label\n'+''.join(f'a film {i},{s}\n' for i,s in enumerate(['3.8','3.80','2.5','+1.5']*4)))
    with pytest.warns(UserWarning, match="problem_type='regression'"): learn = learner('single', bert, 't.csv', label='label', problem_type='regression')
    assert sorted({round(float(y), 4) for _,y in [*learn.dls.train_ds, *learn.dls.valid_ds]})==[1.5,2.5,3.8]
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)

# Lists, transforms and paths, from the file to the prediction

def test_tagging_from_a_parquet_file(bert, in_tmp):
    df = pd.DataFrame(dict(tokens=[['a','film','of','rome'],['no','rome'],['a','film']]*8, tags=[['O','O','O','B-LOC'],['O','B-LOC'],['O','O']]*8))
    df.to_parquet('t.parquet')
    read,got = read_table('t.parquet'),[]
    for data in (df, 't.parquet', read):
        set_seed(0)
        learn = token_classification_learner(data, bert, bs=8, valid=.25)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
            got.append([learn.predict_batch(o) for o in (df, read, Rows(read), df.tokens.tolist(), read.tokens)] + [list(learn.validate(dl=learn.dls.test_dl(o, with_labels=True))) for o in (df, read)])
        assert all(o==got[-1][0] for o in got[-1][:5]) and got[-1][5]==got[-1][6]
    assert got[0][0]==got[1][0]==got[2][0]

@pytest.mark.parametrize('labels', [[['x'],['x','y'],['y'],[]], [[1],[1,2],[2],[]]])
def test_lists_of_labels_from_a_parquet_file(labels, bert, in_tmp):
    df = pd.DataFrame(dict(text=['a film','no film','rome','of rome']*4, label=labels*4))
    df.to_parquet('t.parquet')
    a,b = (sequence_classification_learner(d, bert, bs=4, valid=.25) for d in (df, 't.parquet'))
    assert a.names==b.names and [y.tolist() for _,y in a.dls.train_ds]==[y.tolist() for _,y in b.dls.train_ds]

def upper(batch): return dict(text=[t.upper() for t in batch['text']])

def test_a_transform_is_not_dropped(bert, in_tmp):
    ds = Dataset.from_pandas(FRAMES['single'])
    learn,turned,later = learner('single', bert, ds),ds.with_transform(upper),Dataset.from_pandas(FRAMES['single'])
    later.set_transform(upper)
    for use in (lambda d: learner('single', bert, d), lambda d: read_rows(DatasetDict(train=ds, validation=d)), learn.predict_batch, learn.dls.test_dl, lambda d: learn.predict_batch(d, out='p.jsonl', resume=True)):
        for d in (turned, later):
            with pytest.raises(ValueError, match=r'transform.*\.map\(transform, batched=True\)'): use(d)
    assert Rows(ds.map(upper, batched=True).with_format('torch'))[0]['text']==FRAMES['single'].text[0].upper()

def test_a_path_stands_for_its_table(bert, in_tmp):
    FRAMES['single'].to_csv('t.csv', index=False)
    learn = learner('single', bert, 't.csv')
    want = learn.predict_batch(FRAMES['single'])
    for path in ('t.csv', Path('t.csv')): assert learn.predict_batch(path)==learn.predict_batch(read_table(path))==want
    assert [json.loads(line) for line in learn.predict_batch('t.csv', out='p.jsonl').read_text().splitlines()]==want
    for path in ('gone.csv', Path('gone.csv')):
        with pytest.raises(TypeError): learn.predict_batch(path)

# One table in six forms

WORDS = ['a','film','caf\u00e9','\u6620\u753b','\U0001f600','"','""',',','\t','\n','\r\n',"'",'NA','null','#',' ','\u2028','\\','01','1.10','=1+1',';','|','e\u0301']
KINDS = dict(code=lambda r: r.choice(['01','1','007','1E2','100','+1']), whole=lambda r: r.randint(-9, 10**r.randint(1, 17)), number=lambda r: r.choice([r.uniform(-9, 9), r.gauss(0, 1)*10.**r.randint(-30, 30), float(r.randint(-9, 9))]),
    flag=lambda r: r.random()<.5, name=lambda r: r.choice(['pos','neg','None','nan','NA','true?','\u00e4 b']))

def random_table(seed, n=40):
    r = random.Random(seed)
    table = dict(text=['x'+''.join(r.choice(WORDS) for _ in range(r.randint(1, 12))) for _ in range(n)]) | {k:[f(r) for _ in range(n)] for k,f in KINDS.items()}
    return pd.DataFrame(table | {f'{k}_or_none':[None if r.random()<.2 else f(r) for _ in range(n)] for k,f in KINDS.items()})

def written(df, folder):
    df.to_csv(folder/'t.csv', index=False)
    df.to_csv(folder/'t.tsv', index=False, sep='\t')
    (folder/'t.jsonl').write_text('\n'.join(json.dumps(r, ensure_ascii=False) for r in df.astype(object).where(df.notna(), None).to_dict('records')), encoding='utf-8')
    df.to_parquet(folder/'t.parquet')
    (folder/'t.json').write_text(json.dumps(df.astype(object).where(df.notna(), None).to_dict('records'), ensure_ascii=False), encoding='utf-8')
    return {k:folder/f't.{k}' for k in ('csv','tsv','jsonl','json','parquet')} | dict(dataset=Dataset.from_pandas(df, preserve_index=False), frame=df)

def values(rows, name): # with their types; missing is missing, however it is written
    return [None if v is None or v!=v else (type(v), v) for v in rows.column(name).tolist()]

@pytest.mark.parametrize('seed', range(6))
def test_all_forms_of_a_table_read_alike(seed, tmp_path):
    "A csv cannot hold what no value of it shows: a column of whole floats with no fraction, lists, dates, an empty text (missing). The others hold their types."
    df = random_table(seed)
    want = {c:values(Rows(df), c) for c in df.columns}
    for form,data in written(df, tmp_path).items():
        rows = read_rows(data)[0]
        assert rows.columns==list(df.columns) and len(rows)==len(df), form
        for c in df.columns: assert values(rows, c)==want[c], (form, c)

@pytest.mark.parametrize('white', [' ', '\t ', '', '\xa0', '\x0c', '\x0b', '\x85', '\u2028', ' \n\xa0\n', '" \n "', '"\xa0"\n" "'])
def test_white_space_before_the_header(white, in_tmp):
    Path('t.csv').write_text(f'{white}\ntext,label\nfoo,1\n\nbar,2\n')
    assert read_table('t.csv').to_dict('list')==dict(text=['foo','bar'], label=[1,2])
    Path('one.csv').write_text(f'{white}\ntext\nfoo\nbar\n')
    assert read_table('one.csv').text.tolist()==['foo','bar']
    Path('lines.csv').write_text(f'{white}\n\ntext,title\n"a\n\nb",foo\n')
    assert read_table('lines.csv').to_dict('list')==dict(text=['a\n\nb'], title=['foo'])

def test_text_views_of_arrow(bert):
    data = FRAMES['single']
    views = pa.table(dict(text=pa.array(data.text, pa.string()).cast(pa.string_view()), label=pa.array(data.label)))
    one,two = (sequence_classification_learner(o, bert, valid=[0, 1], bs=2).dls.valid.one_batch()[0] for o in (Dataset(views), data))
    assert (one==two).all()
