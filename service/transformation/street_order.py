"""The countries in which the house number precedes the name of the street. In all others it follows.

OpenCage's address templates decide: a country is listed if its `address_template` in conf/countries/worldwide.yaml, or
that of the country which its `use_country` names, has `house_number` before `road`. https://github.com/OpenCageData/address-formatting
"""

# As @fragaria/address-formatter 6.7.1 (npm) packages the templates; read on 2026-11-27.
NUMBER_FIRST = frozenset(
    (
        *("AD", "AE", "AG", "AM", "AS", "AU", "AZ", "BB", "BD", "BF", "BH", "BJ", "BL", "BM", "BN", "BZ", "CA", "CC"),
        *("CD", "CG", "CI", "CK", "CX", "DJ", "DM", "DZ", "EG", "FJ", "FK", "FM", "FR", "GA", "GB", "GF", "GG", "GH"),
        *("GI", "GM", "GN", "GP", "GS", "GU", "GY", "HK", "HM", "IE", "IM", "IN", "IO", "IQ", "JE", "JM", "JP", "KE"),
        *("KH", "KN", "KY", "LA", "LB", "LK", "LS", "LU", "MA", "MC", "MF", "MG", "MH", "MM", "MP", "MQ", "MR", "MS"),
        *("MT", "MU", "MV", "MW", "MY", "NA", "NC", "NE", "NF", "NG", "NR", "NU", "NZ", "OM", "PF", "PG", "PH", "PK"),
        *("PM", "PR", "RE", "RW", "SA", "SC", "SG", "SH", "SL", "SN", "TC", "TF", "TG", "TH", "TK", "TM", "TN", "TO"),
        *("TT", "TV", "TZ", "UG", "UM", "US", "VG", "VI", "VN", "WF", "XK", "YE", "YT", "ZA", "ZM", "ZW"),
    )
)
