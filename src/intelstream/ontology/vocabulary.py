"""The closed lists: incident types and classes, severities, registries, protocols, traffic light labels."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from intelstream.ontology.text import Check, text

Taxonomy = Literal[
    "abusive-content",
    "availability",
    "fraud",
    "information-content-security",
    "information-gathering",
    "intrusion-attempts",
    "intrusions",
    "malicious-code",
    "other",
    "test",
    "vulnerable",
]
Type = Literal[
    "application-compromise",
    "blacklist",
    "brute-force",
    "burglary",
    "c2-server",
    "copyright",
    "data-leak",
    "data-loss",
    "ddos",
    "ddos-amplifier",
    "dga-domain",
    "dos",
    "exploit",
    "harmful-speech",
    "ids-alert",
    "infected-system",
    "information-disclosure",
    "malware",
    "malware-configuration",
    "malware-distribution",
    "masquerade",
    "misconfiguration",
    "other",
    "outage",
    "phishing",
    "potentially-unwanted-accessible",
    "privileged-account-compromise",
    "proxy",
    "sabotage",
    "scanner",
    "sniffing",
    "social-engineering",
    "spam",
    "system-compromise",
    "test",
    "tor",
    "unauthorised-information-access",
    "unauthorised-information-modification",
    "unauthorized-use-of-resources",
    "undetermined",
    "unprivileged-account-compromise",
    "violence",
    "vulnerable-system",
    "weak-crypto",
]
Severity = Literal["critical", "high", "medium", "low", "info", "undefined"]
Registry = Literal["AFRINIC", "APNIC", "ARIN", "LACNIC", "RIPE"]
Tlp = Literal["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"]  # FIRST, Traffic Light Protocol 2.0

# Reference Security Incident Taxonomy, with the types that stay outside of it under `other` and `test`.
TAXONOMY_OF: Final[dict[Type, Taxonomy]] = {
    "application-compromise": "intrusions",
    "blacklist": "other",
    "brute-force": "intrusion-attempts",
    "burglary": "intrusions",
    "c2-server": "malicious-code",
    "copyright": "fraud",
    "data-leak": "information-content-security",
    "data-loss": "information-content-security",
    "ddos": "availability",
    "ddos-amplifier": "vulnerable",
    "dga-domain": "other",
    "dos": "availability",
    "exploit": "intrusion-attempts",
    "harmful-speech": "abusive-content",
    "ids-alert": "intrusion-attempts",
    "infected-system": "malicious-code",
    "information-disclosure": "vulnerable",
    "malware": "other",
    "malware-configuration": "malicious-code",
    "malware-distribution": "malicious-code",
    "masquerade": "fraud",
    "misconfiguration": "availability",
    "other": "other",
    "outage": "availability",
    "phishing": "fraud",
    "potentially-unwanted-accessible": "vulnerable",
    "privileged-account-compromise": "intrusions",
    "proxy": "other",
    "sabotage": "availability",
    "scanner": "information-gathering",
    "sniffing": "information-gathering",
    "social-engineering": "information-gathering",
    "spam": "abusive-content",
    "system-compromise": "intrusions",
    "test": "test",
    "tor": "other",
    "unauthorised-information-access": "information-content-security",
    "unauthorised-information-modification": "information-content-security",
    "unauthorized-use-of-resources": "fraud",
    "undetermined": "other",
    "unprivileged-account-compromise": "intrusions",
    "violence": "abusive-content",
    "vulnerable-system": "vulnerable",
    "weak-crypto": "vulnerable",
}
# What older feeds and pipelines call them. A blank for a dash needs no entry.
OLD_TYPES: Final[dict[str, Type]] = {
    "backdoor": "system-compromise",
    "botnet drone": "infected-system",
    "c&c": "c2-server",
    "c2server": "c2-server",
    "compromised": "system-compromise",
    "defacement": "unauthorised-information-modification",
    "dropzone": "other",
    "leak": "data-leak",
    "ransomware": "infected-system",
    "unauthorized-command": "system-compromise",
    "unauthorized-login": "system-compromise",
    "unknown": "undetermined",
    "vulnerable client": "vulnerable-system",
    "vulnerable service": "vulnerable-system",
}
OLD_REGISTRIES: Final[dict[str, Registry]] = {"RIPENCC": "RIPE", "RIPE-NCC": "RIPE"}
OLD_LABELS: Final[dict[str, Tlp]] = {"WHITE": "CLEAR", "YELLOW": "AMBER", "AMBER-STRICT": "AMBER+STRICT"}

# Names of /etc/protocols, which began as RFC 1700.
PROTOCOLS: Final = tuple(
    """
    3pc a/n ah argus aris ax.25 bbn-rcc bna br-sat-mon cbt cftp chaos compaq-peer cphb cpnx crdup crtp dcn ddp ddx dgp
    divert egp eigrp emcon encap esp etherip fc fire ggp gmtp gre hmp i-nlsp iatp icmp idpr idpr-cmtp idrp ifmp igmp igp
    il ip ipcomp ipcv ipencap ipip iplt ippc ipv6 ipv6-frag ipv6-icmp ipv6-nonxt ipv6-opts ipv6-route ipx-in-ip irtp
    isis iso-ip iso-tp4 kryptolan l2tp larp leaf-1 leaf-2 merit-inp mfe-nsp mhrp micp mobile mtp mux narp netblt
    nsfnet-igp nvp nvp-ii ospf pgm pim pipe pnni prm ptp pup pvp qnx rdp rsvp rvd sat-expak sat-mon scc-sp scps sctp
    sdrp secure-vmtp sep skip sm smp snp sprite-rpc sps srp sscopmce st st2 sun-nd swipe tcf tcp tlsp tp++ trunk-1
    trunk-2 ttp udp uti vines visa vmtp vrrp wb-expak wb-mon wsn xnet xns-idp xtp
    """.split()  # noqa: SIM905 - as literals they take 129 lines
)


def one_of(names: Iterable[str], old: Mapping[str, str] | None = None, *, upper: bool = False) -> Check:
    """Return a check for a closed list: in any case, with blanks for dashes, and by its old names."""
    known: dict[Any, str] = {**{name: name for name in names}, **(old or {})}

    def check(value: object) -> str:
        try:
            if found := known.get(value):  # nearly always enough
                return found
        except TypeError:  # unhashable, a list say
            pass
        name = text(value).upper() if upper else text(value).lower()
        if not (found := known.get(name) or known.get(name.replace(" ", "-"))):
            raise ValueError("not in the vocabulary")
        return found

    return check


def label(names: Iterable[str]) -> Check:
    """Return a check for traffic light labels, of version 2 or 1, with or without `TLP:` in front."""
    listed = one_of(names, OLD_LABELS, upper=True)

    def check(value: object) -> Any:
        return listed(value.strip().upper().removeprefix("TLP").lstrip(": ") if isinstance(value, str) else value)

    return check


def tlp1(label: Tlp) -> str:
    """Return the label of version 1 that shows the event to nobody whom version 2 keeps it from."""
    return {"CLEAR": "WHITE", "AMBER+STRICT": "RED"}.get(label, label)
