"""Malformed and odd messages, each with what is wrong with it: what a scanner of MIME, ENVELOPE and
BODYSTRUCTURE must survive. Line ends are CRLF, as stored."""

from __future__ import annotations


def _message(header: str, body: str = "") -> bytes:
    return f"{header}\n\n{body}".replace("\n", "\r\n").encode("latin-1")


def _nested(depth: int) -> bytes:
    lines = ["Content-Type: multipart/mixed; boundary=b0", ""]
    for level in range(1, depth):
        lines += [f"--b{level - 1}", f"Content-Type: multipart/mixed; boundary=b{level}", ""]
    return "\r\n".join([*lines, f"--b{depth - 1}", "", "deep", ""]).encode()


def _enclosed(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: innermost\r\n\r\nx\r\n"


MALFORMED: dict[str, bytes] = {
    "empty header and body": b"\r\n\r\n",
    "no header": b"\r\njust text\r\n",
    "header without end": b"Subject: x\r\nFrom: a@b.test\r\n",
    "line that is no field in the header": _message(
        "Subject: x\nno colon here\nFrom: a@b.test", "t\n"
    ),
    "folded first line": b" folded: x\r\nSubject: y\r\n\r\nt\r\n",
    "field without a name": _message(": value\nSubject: x", "t\n"),
    "NUL everywhere": b"Subj\0ect: a\0b\r\nFrom: \0@\0\r\n\r\nte\0xt\r\n",
    "8 bits in all fields": _message(
        "Subject: \xe9\xff\nFrom: \xe9 <\xe9@\xe9.test>\nTo: \xff, \xfe", "\xe9\n"
    ),
    "quotes and backslashes": _message('Subject: a"b\\c\nFrom: "a\\"b\\\\" <"x y"@b.test>', "t\n"),
    "quote without end": _message(
        'From: "a <b@c.test>\nTo: "x\nContent-Type: text/plain; name="x', "t\n"
    ),
    "brackets without end": _message("From: <a@b.test\nTo: a (b (c\nCc: [x", "t\n"),
    "commas and semicolons alone": _message("From: ,,,;;\nTo: ;\nCc: :\nBcc: ,", "t\n"),
    "groups": _message("To: undisclosed-recipients:;\nCc: a: b@c.test, d@e.test;, f@g.test", "t\n"),
    "group without end": _message("To: a: b@c.test, d@e.test", "t\n"),
    "source routes": _message("From: <@a.test,@b.test:c@d.test>\nTo: <>", "t\n"),
    "addresses without host": _message("From: root\nTo: Bob <bob>\nCc: @b.test", "t\n"),
    "very many addresses": _message("To: " + ", ".join(f"a{n}@b.test" for n in range(3000)), "t\n"),
    "fields twice": _message("Subject: one\nSubject: two\nFrom: a@b.test\nFrom: c@d.test", "t\n"),
    "very long line": _message("Subject: " + "x" * 100_000, "y" * 100_000 + "\n"),
    "content type without subtype": _message("Content-Type: text", "t\n"),
    "content type empty": _message("Content-Type:", "t\n"),
    "content type of signs": _message('Content-Type: ;;;=;"', "t\n"),
    "parameters without value": _message("Content-Type: text/plain; charset; name=; =x", "t\n"),
    "parameters of 2231": _message(
        "Content-Type: text/plain; name*0*=utf-8''a%20; name*1=b", "t\n"
    ),
    "too many parameters": _message("Content-Type: a/b" + "; p=q" * 500, "t\n"),
    "disposition of signs": _message(
        "Content-Disposition: ;filename\nContent-Language: (,),;", "t\n"
    ),
    "encoding not known": _message("Content-Transfer-Encoding: x-none", "t\n"),
    "encoding empty": _message("Content-Transfer-Encoding:", "t\n"),
    "base64 that is none": _message("Content-Transfer-Encoding: base64", "!!!\n=A=\nQUJD\nQ\n"),
    "base64 with padding within": _message("Content-Transfer-Encoding: base64", "QQ==QUI=QUJD\n"),
    "quoted-printable that is none": _message(
        "Content-Transfer-Encoding: quoted-printable", "=\n==3D=G1=\n=4"
    ),
    "charset not known": _message('Content-Type: text/plain; charset="x y"', "\xe9\n"),
    "multipart without boundary": _message("Content-Type: multipart/mixed", "--x\n\nt\n--x--\n"),
    "multipart without parts": _message("Content-Type: multipart/mixed; boundary=x", "no part\n"),
    "multipart that is empty": _message("Content-Type: multipart/mixed; boundary=x"),
    "multipart with one delimiter": _message("Content-Type: multipart/mixed; boundary=x", "--x"),
    "multipart that ends at once": _message(
        "Content-Type: multipart/mixed; boundary=x", "--x--\nafter\n"
    ),
    "delimiters one after another": _message(
        "Content-Type: multipart/mixed; boundary=x", "--x\n--x\n\n--x\n--x--\n--x\n"
    ),
    "part cut off in its header": _message(
        "Content-Type: multipart/mixed; boundary=x", "--x\nContent-Type: text/pl"
    ),
    "boundary with blanks": _message(
        'Content-Type: multipart/mixed; boundary="a b  "', "--a b\n\nt\n--a b--\n"
    ),
    "boundary empty": _message('Content-Type: multipart/mixed; boundary=""', "--\n\nt\n----\n"),
    "boundary of a thousand bytes": _message(
        f"Content-Type: multipart/mixed; boundary={'x' * 2000}", "--" + "x" * 2000
    ),
    "boundaries that begin alike": _message(
        "Content-Type: multipart/mixed; boundary=x",
        "--x\nContent-Type: multipart/mixed; boundary=xy\n\n--xy\n\na\n--xy--\n--x\n\nb\n--x--\n",
    ),
    "the same boundary within": _message(
        "Content-Type: multipart/mixed; boundary=x",
        "--x\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x--\n--x\n\nb\n--x--\n",
    ),
    "inner part without its end": _message(
        "Content-Type: multipart/mixed; boundary=x",
        "--x\nContent-Type: multipart/mixed; boundary=y\n\n--y\n\na\n--x\n\nb\n--x--\n",
    ),
    "digest": _message(
        "Content-Type: multipart/digest; boundary=x", "--x\n\nSubject: a\n\nt\n--x\n--x--\n"
    ),
    "message within is empty": _message("Content-Type: message/rfc822"),
    "message within is base64": _message(
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64", "U3ViamVjdDogeA0KDQp4\n"
    ),
    "message within without a header": _message("Content-Type: message/rfc822", "\ntext\n"),
    "external body": _message(
        "Content-Type: message/external-body; access-type=x", "Content-Type: a/b\n\n"
    ),
    "partial message": _message("Content-Type: message/partial; id=x; number=1", "t\n"),
    "deeply nested": _nested(200),
    "messages within messages": _enclosed(120),
    "very many parts": _message(
        "Content-Type: multipart/mixed; boundary=x", "".join("--x\n\na\n" for _ in range(1500))
    ),
    "lines that look like delimiters": _message(
        "Content-Type: multipart/mixed; boundary=x",
        "--x\n\n" + "--xx\n--\n-- x\n" * 500 + "--x--\n",
    ),
    "only dots": _message("Subject: x", ".\n..\n...\n"),
    "no line end": b"Subject: x\r\n\r\nlast",
}
