# statements = kept_nulls
# value.converter.replace.null.with.default = false
# value.converter.schemas.enable = false
# transforms = unwrap
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = rewrite
# transforms.unwrap.add.fields = op,source.snapshot,after.a
# provide.transaction.metadata = true
