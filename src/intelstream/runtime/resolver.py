"""Asks the domain name system for stages; the library is an extra, imported at the first question."""

from intelstream.errors import NotFound, Unavailable


class DnsResolver:
    """`ctx.dns` in production: the system's name servers."""

    async def query(self, name: str, kind: str = "A") -> list[str]:
        """Return the records as text.

        Raises:
            NotFound: there is no such name or no such record.
            Unavailable: no server answered.
        """
        from dns import asyncresolver, exception, resolver  # noqa: PLC0415 - an extra: `intelstream[dns]`

        try:
            answer = await asyncresolver.resolve(name, kind)
        except (resolver.NXDOMAIN, resolver.NoAnswer) as error:
            raise NotFound(f"resolving {name} {kind}: {error}") from error
        except exception.DNSException as error:
            raise Unavailable(f"resolving {name} {kind}: {error}") from error
        return [record.to_text().strip('"') for record in answer]
